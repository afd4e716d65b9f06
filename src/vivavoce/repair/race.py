"""Successive halving: at half time the worse half of the arms is given up (Jamieson and Talwalkar 2016), by Optuna's pruner."""

from __future__ import annotations

import math
import threading
from typing import Any

from vivavoce.repair.errors import require
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.reading import Reading
from vivavoce.repair.supervision import Judge
from vivavoce.repair.yardstick import Yardstick

READINGS = 8  # of a run: how often an arm's level is read
HALF_TIME = READINGS // 2  # reading of the first decision: before it, slow remedies look like hopeless ones
REDUCTION = 2  # of the arms at a decision, one of so many goes on
NEAR_GAIN = 0.25  # of the best arm's gain over the original: an arm that lacks no more than this goes on
FEWEST_ARMS = 4  # of fewer than this none is given up: what it saves does not pay for what it may lose


class Race:
    """Arms against each other. Judged are arms whose loss can be held against the original's, and which have the yardstick."""

    def __init__(self, original: Outcome, yardstick: Yardstick, every: int) -> None:
        optuna: Any = require("optuna", "repair")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.original, self.yardstick, self.every = original, yardstick, every
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=HALF_TIME, reduction_factor=REDUCTION, min_early_stopping_rate=0
        )
        direction = "maximize" if yardstick.better == "higher" else "minimize"
        self._best: dict[int, float] = {}  # level of the best arm by reading
        self._study = optuna.create_study(direction=direction, pruner=pruner)
        self._lock = threading.Lock()

    def judge(self) -> Judge:
        """A judge for one more arm."""
        with self._lock:
            trial = self._study.ask()

        def hopeless(step: int, reading: Reading) -> bool:
            level = reading.levels.get(self.yardstick.name)
            if level is None or not self.yardstick.measures(self.original, reading):
                return False
            with self._lock:
                reading_number = round(step / self.every)
                if math.isfinite(level):
                    better = max if self.yardstick.better == "higher" else min
                    self._best[reading_number] = better(level, self._best.get(reading_number, level))
                trial.report(level if math.isfinite(level) else math.nan, reading_number)
                return bool(trial.should_prune()) and self._far_behind(level, reading_number)

        return hopeless

    def _far_behind(self, level: float, reading_number: int) -> bool:
        """It gained much less over the original than the best arm had by then: the worse of two good arms may win in the end."""
        best, start = self._best.get(reading_number, math.nan), self.original.level(self.yardstick.name)
        if not math.isfinite(level) or not math.isfinite(start):
            return True
        return not abs(level - best) < NEAR_GAIN * abs(best - start)


def reading_interval(steps: int) -> int:
    """Steps between the readings of a run of so many steps."""
    return max(1, steps // READINGS)
