"""The report as Markdown, for a comment or a summary page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TextIO

from vivavoce.report import guard, preflight, words
from vivavoce.report.schema import FindingData, Report

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#+!|~])")


def write(report: Report, stream: TextIO) -> None:
    """Write the report as GitHub-flavoured Markdown. Text from the run is escaped."""
    stream.write("<!-- vivavoce -->\n")
    for block in _blocks(report):
        stream.write(block.rstrip("\n") + "\n\n")


def _blocks(report: Report) -> Iterable[str]:
    yield f"# {escape(words.headline(report))}"
    yield f"{escape(report['reason'])}  \n{escape(words.tally(report))}"
    for finding in report["findings"]:
        yield from _finding(finding)
    if "guard" in report:
        yield "## Guard"
        yield escape(words.sentence(guard.course(report["guard"]))) + "."
        if guard.rows(report["guard"]):
            yield _table(["act", "times", "when", "reason for the first"], map(list, guard.rows(report["guard"])))
    if "preflight" in report:
        yield "## Preflight"
        yield escape(preflight.course(report["preflight"])) + "."
        yield _table(["result", "check", "why"], map(list, preflight.rows(report["preflight"])))
    if report["metrics"]:
        yield "## Metrics"
        yield _table(
            ["metric", "first", "last", "best", "at step"],
            (
                [
                    words.METRIC_TITLES[name],
                    *(words.number(metric[key]) for key in ("first", "last", "best", "best_step")),
                ]
                for name, metric in report["metrics"].items()
            ),
        )
    yield "Next: " + " · ".join(code(command) for command in words.next_commands(report, report["run"]["id"] or None))


def _finding(finding: FindingData) -> Iterable[str]:
    question = f", question {finding['question']}" if finding["question"] else ""
    yield f"## {escape(finding['title'])}"
    yield f"{code(finding['slug'])}: **{finding['severity']}**, confidence {words.confidence(finding)}{question}"
    yield escape(finding["why"])
    yield "\n".join(f"- {name}: {body}" for name, body in _points(finding) if body)
    if finding["evidence"]:
        yield _table(
            ["measured", "value", "held against", "source"],
            ([item["name"], words.measured(item), _threshold(item), item["source"]] for item in finding["evidence"]),
        )
    yield from _remedies(finding)


def _points(finding: FindingData) -> Iterable[tuple[str, str]]:
    yield "Where", escape(words.where(finding["where"]))
    yield "Hence", ", ".join(code(symptom) for symptom in finding["symptoms"])
    yield "Ruled out", "; ".join(f"{code(item['slug'])} ({escape(item['because'])})" for item in finding["ruled_out"])


def _remedies(finding: FindingData) -> Iterable[str]:
    for index, remedy in enumerate(finding["remedies"], start=1):
        yield f"**Try {index}.** {escape(remedy['title'])}"
        if remedy["edit"]:
            yield fenced(remedy["edit"], "python")


def _threshold(item: Any) -> str:
    return "" if item["threshold"] is None else words.with_unit(item["threshold"], item["unit"])


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(words.plain(text).split()))


def code(text: str) -> str:
    """A code span around any text."""
    text = " ".join(words.plain(text).split())
    fence = "`" * (_longest_run_of_ticks(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def fenced(text: str, language: str) -> str:
    """A code block around any text."""
    fence = "`" * max(_longest_run_of_ticks(text) + 1, 3)
    return f"{fence}{language}\n{words.plain(text)}\n{fence}"


def _longest_run_of_ticks(text: str) -> int:
    return max((len(ticks) for ticks in re.findall("`+", text)), default=0)
