"""From which score on to say yes, when a false alarm and a miss cost different amounts. Streaming."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 65_536  # the threshold is exact to 1 / BINS of the range of the scores


@dataclass(frozen=True)
class Threshold:
    """Say yes from `threshold` on. `cost` is the mean cost of an example there, `at_half` that at 0.5."""

    threshold: float
    cost: float
    at_half: float
    false_alarms: int
    misses: int


class ScoreHistogram:
    """How scores in [0, 1] are spread over yes and no examples."""

    def __init__(self) -> None:
        self.yes = np.zeros(BINS, np.int64)
        self.no = np.zeros(BINS, np.int64)

    def update(self, real: NDArray[np.bool_], score: Floats) -> None:
        """Take in truths (n,) and scores (n,). Raises ValueError for scores outside [0, 1] and NaN."""
        if not ((score >= 0) & (score <= 1)).all():
            raise ValueError("scores for a threshold lie between 0 and 1")
        bins = np.minimum((score * BINS).astype(np.int64), BINS - 1)
        self.yes += np.bincount(bins[real], minlength=BINS)
        self.no += np.bincount(bins[~real], minlength=BINS)

    def merge(self, other: ScoreHistogram) -> ScoreHistogram:
        """The histogram of both."""
        merged = ScoreHistogram()
        merged.yes, merged.no = self.yes + other.yes, self.no + other.no
        return merged

    def curve(self, false_alarm: float, miss: float) -> tuple[Floats, Floats]:
        """Thresholds k / `BINS` for k = 0 … `BINS`, and the mean cost of an example at each; both (`BINS` + 1,).

        Raises ValueError for costs that are not positive and where there are no examples.
        """
        if not (false_alarm > 0 and miss > 0):
            raise ValueError(f"costs must be positive, got {false_alarm} and {miss}")
        total = int(self.yes.sum() + self.no.sum())
        if not total:
            raise ValueError("there are no examples to choose a threshold by")
        misses = np.concatenate([[0], np.cumsum(self.yes)])
        alarms = self.no.sum() - np.concatenate([[0], np.cumsum(self.no)])
        return np.arange(BINS + 1) / BINS, (misses * miss + alarms * false_alarm) / total

    def best(self, false_alarm: float, miss: float) -> Threshold:
        """The threshold of the lowest cost; the middle one where several are equal."""
        thresholds, costs = self.curve(false_alarm, miss)
        lowest = np.flatnonzero(costs == costs.min())
        run = np.split(lowest, np.flatnonzero(np.diff(lowest) > 1) + 1)
        longest = max(run, key=len)
        place = int(longest[len(longest) // 2])
        return Threshold(
            float(thresholds[place]),
            float(costs[place]),
            float(costs[BINS // 2]),
            int(self.no[place:].sum()),
            int(self.yes[:place].sum()),
        )


def bayes_threshold(false_alarm: float, miss: float) -> float:
    """The best threshold for true probabilities: c_fa / (c_fa + c_miss) (Elkan 2001)."""
    return false_alarm / (false_alarm + miss)
