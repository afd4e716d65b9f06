"""A lab's result as one HTML file that needs nothing else, in the look of the reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

from vivavoce._version import __version__
from vivavoce.labs.charts import chart
from vivavoce.labs.lab import Claim, Lab, Outcome, Result, Table
from vivavoce.report.markup import Html, element, join
from vivavoce.report.shell import banner, code_block, document, figure, section
from vivavoce.report.table import table

TONES: dict[Outcome, str] = {"holds": "healthy", "does not hold": "critical", "holds only when": "warning"}


@dataclass(frozen=True)
class Setting:
    """How a result came about: the command that made it, its input, its seed, and how long it took."""

    command: str
    source: str | None
    seed: int
    quick: bool
    seconds: float


def write(lab: type[Lab], result: Result, setting: Setting, stream: TextIO) -> None:
    """Write the page."""
    sections = list(_sections(lab, result))
    page = document(
        f"{lab.name} · Vivavoce",
        "answer",
        banner(f"lab {lab.name}", [(key, title) for key, title, _ in sections]),
        element("main", _answer(lab, result, setting), *(section(*content) for content in sections)),
        _footer(setting),
    )
    stream.write(f"<!doctype html>\n{page}\n")


def _answer(lab: type[Lab], result: Result, setting: Setting) -> Html:
    about = f"Measured on {setting.source}" if setting.source else "Measured on known truth"
    return element(
        "section",
        element("p", about, class_="tone"),
        element("h1", lab.question),
        element("p", result.answer, class_="lead"),
        *(element("p", note) for note in result.notes),
        element("dl", *(figure(name, value) for name, value in _tally(result)), class_="figures"),
        element("div", element("h2", "The command that made this page"), _command(setting), class_="next"),
        id_="verdict",
        class_="verdict note",
        tabindex=-1,
        aria_label="Answer",
    )


def _command(setting: Setting) -> Html:
    return code_block(setting.command, "Copy the command")


def _tally(result: Result) -> Iterable[tuple[str, str]]:
    for outcome in TONES:
        count = sum(claim.outcome == outcome for claim in result.claims)
        if count:
            yield f"claims: {outcome}{' …' if outcome == 'holds only when' else ''}", str(count)


def _sections(lab: type[Lab], result: Result) -> Iterable[tuple[str, str, list[Html]]]:
    if result.claims:
        textbook = element("p", element("b", "The textbook says: "), lab.textbook)
        yield "claims", "Claims", [textbook, _claims(result.claims)]
    if result.tables:
        yield "tables", "Tables", [_table(entry) for entry in result.tables]
    if result.figures:
        yield "plots", "Plots", [chart(entry) for entry in result.figures]


def _claims(claims: Iterable[Claim]) -> Html:
    rows = [[_statement(claim), claim.measured, claim.expected, _outcome(claim)] for claim in claims]
    return table("Each claim and what was measured", ["claim", "measured", "expected", "outcome"], rows)


def _statement(claim: Claim) -> Html:
    return join(claim.claim, element("p", claim.note, class_="about") if claim.note else None)


def _outcome(claim: Claim) -> Html:
    return element("span", claim.verdict, class_=f"outcome {TONES[claim.outcome]}")


def _table(entry: Table) -> Html:
    content = table(entry.caption, entry.heads, entry.rows, kind="numeric" if entry.numeric else None)
    if len(entry.rows) <= 2 * entry.most:
        return content
    return element("details", element("summary", f"{entry.caption}: {len(entry.rows):,} rows"), content)


def _footer(setting: Setting) -> Html:
    quick = ", quick" if setting.quick else ""
    made = f"Made by Vivavoce {__version__} in {setting.seconds:.1f} s, seed {setting.seed}{quick}."
    return element("footer", element("p", made))
