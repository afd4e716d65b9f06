"""Scores reports against what is known of the programs: is the cause named, is it first, and are healthy runs left alone?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from _collection import Variant

ALARM = ("critical", "warning")  # severities that count as raising an alarm
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0001)  # edges of confidence in the reliability table
HEALTHY = "(healthy)"
NOTHING = "(nothing)"


@dataclass(frozen=True)
class Verdict:
    """One run, judged. `named`: an accepted cause was raised; `right`: the first finding is one; `exact`: it is the first."""

    variant: Variant
    seed: int
    alarms: tuple[tuple[str, float], ...]  # slug and confidence, most important first
    first: str
    named: bool
    right: bool
    exact: bool


def judge(variant: Variant, seed: int, report: dict[str, Any]) -> Verdict:
    """Judges the report of one run."""
    raised = [finding for finding in report["findings"] if finding["severity"] in ALARM]
    primary = [finding for finding in raised if finding["primary"]] or raised
    first = primary[0]["slug"] if primary else NOTHING
    accept = variant.fault.accept if variant.fault else ()
    return Verdict(
        variant=variant,
        seed=seed,
        alarms=tuple((finding["slug"], finding["confidence"]) for finding in raised),
        first=first,
        named=any(finding["slug"] in accept for finding in raised),
        right=first in accept,
        exact=bool(accept) and first == accept[0],
    )


@dataclass(frozen=True)
class Score:
    """Shares over a set of runs; a share of no runs is None."""

    sick: int
    healthy: int
    recall: float | None
    primary_right: float | None
    primary_exact: float | None
    false_alarms: float | None


def score(verdicts: list[Verdict]) -> Score:
    """Recall, share of right primary causes, and false alarms."""
    sick = [verdict for verdict in verdicts if verdict.variant.fault]
    healthy = [verdict for verdict in verdicts if not verdict.variant.fault]
    return Score(
        sick=len(sick),
        healthy=len(healthy),
        recall=_share([verdict.named for verdict in sick]),
        primary_right=_share([verdict.right for verdict in sick]),
        primary_exact=_share([verdict.exact for verdict in sick]),
        false_alarms=_share([bool(verdict.alarms) for verdict in healthy]),
    )


def reliability(verdicts: list[Verdict]) -> list[tuple[float, float, int, float | None]]:
    """For each bin of confidence: its edges, how many first findings fell in it, the share of them that were right.

    A finding on a healthy run is wrong. On a sick run the first finding is right if it is an accepted cause.
    """
    firsts = [(dict(verdict.alarms)[verdict.first], verdict.right) for verdict in verdicts if verdict.alarms]
    rows = []
    for low, high in pairwise(BINS):
        hits = [right for confidence, right in firsts if low <= confidence < high]
        rows.append((low, min(high, 1.0), len(hits), _share(hits)))
    return rows


def confusion(verdicts: list[Verdict]) -> Counter[tuple[str, str]]:
    """How often each true cause (the fault's first slug, or healthy) was answered by each first finding."""
    return Counter(
        (verdict.variant.fault.accept[0] if verdict.variant.fault else HEALTHY, verdict.first) for verdict in verdicts
    )


def markdown(verdicts: list[Verdict], part: str, dropped: int) -> str:
    """The page of results for one part of the split."""
    result = score(verdicts)
    lines = [
        f"## Programs of the {part} part",
        "",
        f"{result.sick} sick runs and {result.healthy} healthy runs; {dropped} faults that did not measurably hurt are left out.",
        "",
        "| measure | value |",
        "|---|---|",
        f"| an accepted cause is named | {_percent(result.recall)} |",
        f"| the primary finding is an accepted cause | {_percent(result.primary_right)} |",
        f"| the primary finding is the intended cause | {_percent(result.primary_exact)} |",
        f"| healthy runs with a warning or worse | {_percent(result.false_alarms)} |",
        "",
        "### Reliability of the confidence",
        "",
        "| confidence of the primary finding | runs | right |",
        "|---|---|---|",
    ]
    lines += [
        f"| {low:g} to {high:g} | {count} | {_percent(share)} |" for low, high, count, share in reliability(verdicts)
    ]
    lines += [
        "",
        "### Confusion: the true cause, and the primary findings",
        "",
        "| true cause | runs | answered by |",
        "|---|---|---|",
    ]
    lines += _confusion_rows(confusion(verdicts))
    lines += ["", "### Misses, one by one", "", "| run | seed | accepted | raised |", "|---|---|---|---|"]
    lines += _miss_rows(verdicts)
    return "\n".join(lines) + "\n"


def _confusion_rows(counts: Counter[tuple[str, str]]) -> list[str]:
    rows = []
    for truth in sorted({truth for truth, _ in counts}):
        answers = Counter({answer: count for (cause, answer), count in counts.items() if cause == truth})
        listed = ", ".join(f"{answer} {count}" for answer, count in answers.most_common())
        rows.append(f"| {truth} | {answers.total()} | {listed} |")
    return rows


def _miss_rows(verdicts: list[Verdict]) -> list[str]:
    rows = []
    for verdict in verdicts:
        fault = verdict.variant.fault
        if verdict.named if fault else not verdict.alarms:
            continue
        raised = ", ".join(slug for slug, _ in verdict.alarms) or NOTHING
        rows.append(
            f"| {verdict.variant.key} | {verdict.seed} | {', '.join(fault.accept) if fault else HEALTHY} | {raised} |"
        )
    return rows


def _share(flags: list[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
