"""The table of all arms: best first, losers too. What every reporter of a repair shows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from vivavoce.repair.arm import Arm
from vivavoce.repair.comparison import Effect, worst_first
from vivavoce.repair.result import Result
from vivavoce.report import words

HEADS = ("arm", "level", "better by", "interval", "by luck", "seeds", "found afterwards")
MOST_SLUGS = 3  # findings named in a cell
KINDS = {
    "original": "control",
    "remedy": "at run time",
    "patched": "edited, run plainly",
    "random": "random search",
    "sweep": "range test",
}


@dataclass(frozen=True)
class Row:
    """One arm as strings; `tone` is "winner", "original" or ""."""

    tone: str
    name: str
    level: str
    gain: str
    interval: str
    luck: str
    seeds: str
    found: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells under HEADS."""
        return (self.name, self.level, self.gain, self.interval, self.luck, self.seeds, self.found)


def rows(result: Result) -> list[Row]:
    """One row an arm, the best first."""
    measure = result.yardstick
    if measure is None:
        return [_row(result, arm, None) for arm in result.arms]

    def key(arm: Arm) -> tuple[bool, float]:
        return (arm is result.winner, worst_first(middle(arm, measure.name), measure.better))

    return [_row(result, arm, measure.name) for arm in sorted(result.arms, key=key, reverse=True)]


def middle(arm: Arm, yardstick: str) -> float:
    """The median level of an arm, where not finite counts as the worst; NaN where it has none."""
    levels = list(arm.levels(yardstick).values())
    finite = [level for level in levels if math.isfinite(level)]
    return statistics.median(finite) if 2 * len(finite) > len(levels) else math.nan


def _row(result: Result, arm: Arm, yardstick: str | None) -> Row:
    level = "–" if yardstick is None else words.number(middle(arm, yardstick))
    found = result.proof if arm is result.winner else result.effects.get(arm.name)
    tone = "winner" if arm is result.winner else "original" if arm is result.original else ""
    return Row(
        tone,
        arm.name,
        level if arm.outcomes else "–",
        "–" if found is None else gain(found),
        "–" if found is None else interval(found),
        "–" if found is None else words.percent(found.luck),
        str(len(arm.outcomes)),
        _found(arm),
    )


def gain(found: Effect) -> str:
    """The gain with its sign."""
    return f"{'+' if found.difference > 0 else ''}{words.number(found.difference)}"


def interval(found: Effect) -> str:
    """The interval of an effect."""
    if found.low is None or found.high is None:
        return "–"
    return f"[{words.number(found.low)}, {words.number(found.high)}]"


def _found(arm: Arm) -> str:
    """What was found in the runs of an arm, or why they did not end."""
    outcomes = [arm.outcomes[seed] for seed in sorted(arm.outcomes)]
    bad = next((outcome for outcome in outcomes if outcome.failed), None)
    slugs = list(dict.fromkeys(found.slug for outcome in outcomes for found in outcome.grave))
    parts = slugs[:MOST_SLUGS] + ([f"and {len(slugs) - MOST_SLUGS} more"] if len(slugs) > MOST_SLUGS else [])
    if bad is not None:
        parts.append(bad.ended if parts or not bad.message else f"{bad.ended}: {bad.message}")
    again = sum(outcome.attempts - 1 for outcome in outcomes)
    if again:
        parts.append(f"{again} more attempts: the worker died")
    if not outcomes:
        return "not run"
    return ", ".join(parts) or "nothing"


def facts(result: Result) -> Iterable[tuple[str, str]]:
    """What is said above the table: label and text."""
    measure, winner, proof = result.yardstick, result.winner, result.proof
    if winner is not None and measure is not None and proof is not None:
        old, new = middle(result.original, measure.name), middle(winner, measure.name)
        yield "was", f"{measure.name} {words.number(old)} (median of {len(result.original.outcomes)} seeds)"
        sure = (
            f"better by {gain(proof)} {interval(proof)}, with {proof.pairs} seeds; by luck {words.percent(proof.luck)}"
        )
        yield "now", f"{words.number(new)}, {sure}"
        yield "by", ", then ".join(prescription.title for prescription in winner.prescriptions)
        treated = dict.fromkeys(prescription.finding for prescription in winner.prescriptions)
        yield "treats", ", ".join(treated)
    elif measure is not None:
        yield (
            "level",
            f"{measure.name} {words.number(middle(result.original, measure.name))}, {measure.better} is better",
        )
    if measure is not None and measure.because:
        yield "note", f"compared by the {measure.name}, because {measure.because}"
    for note in result.notes:
        yield "note", note
    for arm in result.arms:
        if arm.words is not None and arm is not winner and arm.kind == "remedy":
            where = f" at {words.short_path(arm.words.file)}:{arm.words.line}" if arm.words.file else ""
            yield "by hand", f"{arm.words.text}{where} (not written: {arm.words.because})"


def tally(result: Result) -> str:
    """The last line: what it took."""
    cost = result.cost
    parts = [
        f"{cost.runs} runs of the script",
        f"{words.number(cost.multiple)} times one run",
        f"{cost.seconds:,.0f} s of runs",
    ]
    if result.engine != "local":
        parts.append(f"on {result.engine}")
    if result.store:
        parts.append(f"diagnosis recorded in {words.short_path(result.store)}")
    return ", ".join(parts)
