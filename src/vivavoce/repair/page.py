"""The end of a repair as one HTML file that needs nothing else, in the frame of the reports."""

from __future__ import annotations

from typing import TextIO

from vivavoce._version import __version__
from vivavoce.repair.result import TITLES, Result
from vivavoce.repair.rows import HEADS, KINDS, facts, rows, tally
from vivavoce.report.markup import Html, element
from vivavoce.report.shell import banner, code_block, document, figure, section
from vivavoce.report.table import table

TONES = {"repaired": "healthy", "healthy": "healthy"}  # classes of the style sheet; all others are "unknown"


def write(result: Result, stream: TextIO, commands: tuple[str, ...] = ()) -> None:
    """Write the page. `commands` are what to type next."""
    sections: list[tuple[str, str, list[Html]]] = []
    if result.patch:
        sections.append(("patch", "The patch", [code_block(result.patch, "Copy the patch")]))
    if len(result.arms) > 1:
        sections.append(("trials", "All trials", [_trials(result), element("p", _legend(result))]))
    stream.write("<!doctype html>\n")
    title = f"{TITLES[result.verdict]} · {result.command} · Vivavoce"
    head = banner(result.command, [(key, name) for key, name, _ in sections])
    main = element("main", _verdict(result, commands), *(section(*content) for content in sections))
    footer = element(
        "footer", element("p", f"{tally(result)}. Made by Vivavoce {__version__}; holds no samples of the data.")
    )
    stream.write(document(title, "verdict", head, main, footer))
    stream.write("\n")


def _verdict(result: Result, commands: tuple[str, ...]) -> Html:
    return element(
        "section",
        element("p", "Repair", class_="tone"),
        element("h1", TITLES[result.verdict].capitalize()),
        element("p", f"{result.reason[:1].upper()}{result.reason[1:]}", class_="lead"),
        element("dl", *(figure(label, text) for label, text in facts(result)), class_="places"),
        element("div", element("h2", "Next"), *(code_block(c, "Copy the command") for c in commands), class_="next")
        if commands
        else None,
        id_="verdict",
        class_=f"verdict {TONES.get(result.verdict, 'unknown')}",
        tabindex=-1,
        aria_label="Verdict",
    )


def _trials(result: Result) -> Html:
    kinds = {arm.name: KINDS[arm.kind] for arm in result.arms}
    body = [[row.name, kinds[row.name], *row.cells[1:]] for row in rows(result)]
    return table("The best first", [HEADS[0], "how", *HEADS[1:]], body)


def _legend(result: Result) -> str:
    measure = result.yardstick
    if measure is None:
        return "Nothing was recorded by which these runs can be compared."
    return (
        f"Level: median {measure.name} over the seeds, {measure.better} is better. Better by: mean difference to the control with the "
        "same seeds, with its bootstrap interval. By luck: how likely so good an order of the runs is if the arm did nothing, "
        "corrected for the number of arms. An arm that fell behind was run with one seed only and has no interval."
    )
