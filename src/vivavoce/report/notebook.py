"""The verdict as a fragment of HTML for notebooks: no script, and styles that touch nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable

from vivavoce.report import words
from vivavoce.report.markup import Html, element, join
from vivavoce.report.schema import FindingData, Report
from vivavoce.report.text import FINDINGS_IN_FULL, REMEDIES_ON_CARD

# Colours with enough contrast on light and on dark pages, since a notebook does not say which it is.
_TONES: dict[str, str] = {
    "critical": "#c2410c",
    "warning": "#a16207",
    "note": "#0369a1",
    "healthy": "#15803d",
    "unknown": "#a16207",
    "no-training": "#a16207",
}
_FRAME = "border-left:3px solid {tone};padding:2px 0 2px 14px;margin:8px 0;max-width:760px;line-height:1.5"
_MUTED = "opacity:.75"
_CODE = "margin:4px 0 8px;padding:6px 10px;background:rgba(128,128,128,.13);border-radius:6px;overflow-x:auto"


def html_fragment(report: Report) -> str:
    """The card of a run, for `_repr_html_`. Text from the run is escaped."""
    findings = report["findings"]
    parts = [] if report["verdict"] == "findings" else [_outcome(report)]
    parts += [_finding(finding) for finding in findings[:FINDINGS_IN_FULL]]
    parts += [_one_line(finding) for finding in findings[FINDINGS_IN_FULL:]]
    return element("div", *parts, element("div", words.tally(report), style=_MUTED), class_="vivavoce-card")


def _frame(tone: str, *children: Html | None) -> Html:
    return element("div", *children, style=_FRAME.format(tone=_TONES.get(tone, "gray")))


def _outcome(report: Report) -> Html:
    return _frame(
        report["verdict"], element("strong", words.headline(report)), element("div", report["reason"]), _losses(report)
    )


def _losses(report: Report) -> Html | None:
    lines = [
        element("div", f"{words.METRIC_TITLES[name]} {words.metric_line(report['metrics'][name])}", style=_MUTED)
        for name in ("train/loss", "val/loss")
        if name in report["metrics"]
    ]
    return join(*lines) if lines else None


def _finding(finding: FindingData) -> Html:
    about = f"{finding['slug']} · {finding['severity']} · confidence {words.confidence(finding)}"
    place = words.where(finding["where"])
    return _frame(
        finding["severity"],
        element("strong", finding["title"]),
        element("div", about, style=_MUTED),
        element("div", finding["why"]),
        element("div", f"Where: {place}") if place else None,
        *_remedies(finding),
    )


def _remedies(finding: FindingData) -> Iterable[Html]:
    for remedy in finding["remedies"][:REMEDIES_ON_CARD]:
        yield element("div", f"Try: {remedy['title']}")
        if remedy["edit"]:
            yield element("pre", element("code", remedy["edit"]), style=_CODE)


def _one_line(finding: FindingData) -> Html:
    return _frame(finding["severity"], element("div", f"{finding['title']} ({finding['slug']})"))
