"""Scores verdicts against what is known of the programs: is the cause named, is it first, and are healthy runs left alone?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from _verdicts import NOTHING, Verdict
from vivavoce.measure.confusion import ConfusionMatrix

BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0001)  # edges of confidence in the reliability table
HEALTHY = "(healthy)"
RESAMPLES = 2_000  # of the programs: the ends of a 95 % interval then vary by less than a tenth of its width
TAIL = 0.025  # on either side of the interval


@dataclass(frozen=True)
class Share:
    """A share of runs, in [0, 1], with its 95 % interval; None where there are no runs.

    The interval is a percentile bootstrap over programs: runs of one program resemble each other. Where all programs agree, a
    bootstrap says nothing, and the exact binomial bound for that many programs (Clopper and Pearson 1934) stands in.
    """

    value: float | None
    low: float = 0.0
    high: float = 1.0
    runs: int = 0
    programs: int = 0


@dataclass(frozen=True)
class Score:
    """How good verdicts are; `precision` is the share of first alarms that are right."""

    recall: Share
    right: Share
    exact: Share
    false_alarms: Share
    precision: Share


def score(verdicts: Sequence[Verdict]) -> Score:
    """Recall, primary causes right, primary causes exact, false alarms, and the share of first alarms that are right."""
    sick = [verdict for verdict in verdicts if verdict.variant.fault]
    healthy = [verdict for verdict in verdicts if not verdict.variant.fault]
    return Score(
        recall=share(sick, lambda verdict: verdict.named),
        right=share(sick, lambda verdict: verdict.right),
        exact=share(sick, lambda verdict: verdict.exact),
        false_alarms=share(healthy, lambda verdict: bool(verdict.alarms)),
        precision=share([verdict for verdict in verdicts if verdict.alarms], lambda verdict: verdict.right),
    )


def share(verdicts: Sequence[Verdict], holds: Callable[[Verdict], bool]) -> Share:
    """The share of the verdicts for which something holds, with an interval clustered by program."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.variant.program.name].append(holds(verdict))
    if not groups:
        return Share(None)
    hits = np.array([sum(flags) for flags in groups.values()])
    sizes = np.array([len(flags) for flags in groups.values()])
    low, high = _interval(hits, sizes)
    return Share(float(hits.sum() / sizes.sum()), low, high, int(sizes.sum()), len(groups))


def _interval(hits: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Of hits (k,) among sizes (k,) in k clusters."""
    if not hits.any():
        return 0.0, 1 - TAIL ** (1 / len(sizes))
    if (hits == sizes).all():
        return TAIL ** (1 / len(sizes)), 1.0
    picks = np.random.default_rng(0).integers(0, len(sizes), (RESAMPLES, len(sizes)))
    shares = hits[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    low, high = np.quantile(shares, [TAIL, 1 - TAIL])
    return float(low), float(high)


def reliability(verdicts: Sequence[Verdict]) -> list[tuple[float, float, int, float | None, float | None]]:
    """For each bin of confidence: its edges, how many first findings fell in it, their mean confidence, the share right.

    A finding on a healthy run is wrong. On a sick run the first finding is right if it is an accepted cause.
    """
    firsts = [(verdict.alarms[0].confidence, verdict.right) for verdict in verdicts if verdict.alarms]
    rows = []
    for low, high in pairwise(BINS):
        inside = [(confidence, right) for confidence, right in firsts if low <= confidence < high]
        mean, right = (float(np.mean(column)) for column in zip(*inside, strict=True)) if inside else (None, None)
        rows.append((low, min(high, 1.0), len(inside), mean, right))
    return rows


def expected_calibration_error(verdicts: Sequence[Verdict]) -> float:
    """Mean over first findings of |mean confidence − share right| of their bin (Naeini et al. 2015)."""
    rows = [row for row in reliability(verdicts) if row[2]]
    total = sum(row[2] for row in rows)
    return sum(row[2] * abs((row[3] or 0) - (row[4] or 0)) for row in rows) / total if total else 0.0


def confusion(verdicts: Sequence[Verdict]) -> ConfusionMatrix:
    """True causes (the fault's first slug, or healthy) by first findings, as Viva's own confusion matrix: rows real, columns said."""
    real, said = [_truth(verdict) for verdict in verdicts], [verdict.first for verdict in verdicts]
    matrix = ConfusionMatrix(sorted({*real, *said}, key=lambda label: (label in (HEALTHY, NOTHING), label)))
    matrix.update_names(real, said)
    return matrix


def _truth(verdict: Verdict) -> str:
    return verdict.accept[0] if verdict.variant.fault else HEALTHY
