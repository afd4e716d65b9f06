"""Which arm is taken: what counts as a cure, what as better, and the order of the arms after their first trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vivavoce.remedy.remedy import Prescription
from vivavoce.repair.arm import Arm
from vivavoce.repair.comparison import SMALLEST, worst_first
from vivavoce.repair.reading import Better
from vivavoce.repair.yardstick import Yardstick

NEAR = (
    0.05  # of the best gain and of the best level: among remedies this near to the best, the first in the plan is taken
)

SAME_RATE = 1.5  # factor between learning rates up to which the second is not worth a trial
WIDEST_STEP = 10.0  # from one learning rate to the next that is tried

# Findings with one certain cure: the first arm after which nothing is found ends the search.
CERTAIN = frozenset(
    {
        "gradients-not-zeroed",
        "parameters-not-optimized",
        "loss-output-mismatch",
        "target-broadcast",
        "unshuffled-data",
        "clip-after-step",
        "no-gradient",
        "optimizer-crosstalk",
        "train-eval-mismatch",
        "symmetric-weights",
        "output-range",
    }
)


def ranked(arms: Iterable[Arm], base: Arm, measure: Yardstick) -> list[Arm]:
    """The arms that are better than the base with the original seeds, best first.

    Of remedies whose best arms are near to the best of all, those that cure come first, in the order of the plan.
    """
    start = level(base, measure)
    better = [arm for arm in arms if beats(level(arm, measure), start, measure.better)]
    ordered = sorted(better, key=lambda arm: worst_first(level(arm, measure), measure.better), reverse=True)
    if not ordered:
        return []
    best = level(ordered[0], measure)
    leaders = {_place(arm): arm for arm in reversed(ordered)}.values()  # the best arm of each remedy
    near = [arm for arm in better if arm in leaders and _is_near(level(arm, measure), best, start)]
    near.sort(key=lambda arm: not cured(arm))
    return [*near, *(arm for arm in ordered if arm not in near)]


def _is_near(reached: float, best: float, start: float) -> bool:
    """Whether the difference is a trifle, beside the gain and beside the level: a gain may be large because the start was bad."""
    gain = abs(best - start) if math.isfinite(start) else math.inf
    return abs(reached - best) <= NEAR * min(gain, abs(best))


def outermost(arms: Sequence[Arm], base: Arm, measure: Yardstick) -> tuple[Arm | None, float]:
    """The best arm, if it has the outermost learning rate of the remedy's that were tried, and the factor to the next one.

    (None, 1.0) where the best lies between others, or is hardly better than its neighbour.
    """
    found = ranked(arms, base, measure)
    best = max(found, key=lambda arm: worst_first(level(arm, measure), measure.better), default=None)
    rate = None if best is None else best.prescriptions[-1].numbers.get("lr")
    if best is None or rate is None:
        return None, 1.0
    same = [arm for arm in arms if _place(arm) == _place(best) and arm.tried is not None]
    rates = {arm.prescriptions[-1].numbers["lr"]: arm for arm in same}
    order = sorted(rates)
    if len(order) < 2 or rate not in (order[0], order[-1]):
        return None, 1.0
    neighbour = order[1] if rate == order[0] else order[-2]
    if _is_near(level(rates[neighbour], measure), level(best, measure), level(base, measure)):
        return None, 1.0
    step = min(max(rate / neighbour, 1 / WIDEST_STEP), WIDEST_STEP)
    return best, step


def apart(prescriptions: Iterable[Prescription], known: Iterable[Prescription]) -> list[Prescription]:
    """Those whose learning rate is not nearly that of an earlier one, or of a known one, for the same optimizer."""
    rates: dict[tuple[object, ...], list[float]] = {}

    def is_new(prescription: Prescription) -> bool:
        rate, others = prescription.numbers.get("lr"), rates.setdefault(_purpose(prescription), [])
        if not rate:
            return True
        new = all(max(rate / other, other / rate) > SAME_RATE for other in others)
        others.append(rate)
        return new

    for prescription in known:
        is_new(prescription)
    return [prescription for prescription in prescriptions if is_new(prescription)]


def _place(arm: Arm) -> tuple[object, ...]:
    """What an arm's last remedy does, whatever its numbers."""
    return _purpose(arm.prescriptions[-1])


def _purpose(prescription: Prescription) -> tuple[object, ...]:
    where = prescription.where
    return (prescription.remedy, where.get("file"), where.get("line"), len(where.get("also", ())))


def level(arm: Arm, measure: Yardstick) -> float:
    """The level of an arm with the original seeds; NaN where it has none."""
    outcome = arm.tried
    return math.nan if outcome is None else outcome.level(measure.name)


def beats(reached: float, other: float, better: Better) -> bool:
    """Better than the other by more than a trifle; what is not finite is beaten by all that is."""
    if not math.isfinite(reached):
        return False
    if not math.isfinite(other):
        return True
    gain = reached - other if better == "higher" else other - reached
    return gain > SMALLEST * abs(other)


def cured(arm: Arm) -> bool:
    """Nothing is found any more. A wiring fault that is treated at run time is still seen by the taps, which sit outside of the cure."""
    treated = {prescription.finding for prescription in arm.prescriptions} & CERTAIN if arm.kind != "patched" else set()
    outcome = arm.tried
    if outcome is None or outcome.failed or not outcome.trained:
        return False
    return not {found.slug for found in outcome.grave} - treated


def hopeless(arm: Arm) -> bool:
    """It did not get to its end with the original seeds."""
    return arm.tried is None or arm.tried.failed
