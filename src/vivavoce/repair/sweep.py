"""The range test of the learning rate (Smith 2017): one short run in which the rate climbs from step to step.

As long as the rate is of use the loss falls the faster the higher it is; then the training breaks. A tenth of the rate at which the
loss is lowest lies well inside.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from vivavoce.record.run import Run
from vivavoce.record.tracks import Floats

STEPS = 120  # of a sweep at most
FEWEST_STEPS = 40  # a run of fewer is too short to sweep
DECADES = 6.0  # that the rate climbs through
BELOW = 10.0  # times below the rate of the lowest loss
WINDOW = 5  # losses whose median is looked at
FIRST = 0.1  # share of the sweep whose loss is that of the start
CLEARLY = 3.0  # times the spread of the first losses that the lowest must lie below them


@dataclass(frozen=True)
class Sweep:
    """Factors on the script's own learning rates: from `lowest` to `highest`, evenly in the logarithm over `steps`."""

    steps: int
    lowest: float
    highest: float

    def factor(self, step: int) -> float:
        """The factor for a step, counted from 1."""
        share = min(max(step - 1, 0), self.steps - 1) / max(1, self.steps - 1)
        return float(self.lowest * (self.highest / self.lowest) ** share)


def towards(higher: bool, steps: int) -> Sweep | None:
    """The sweep above or below the script's own rates; None for a run that is too short."""
    if steps < FEWEST_STEPS:
        return None
    reach = 10**DECADES
    return Sweep(min(steps, STEPS), 1.0, reach) if higher else Sweep(min(steps, STEPS), 1 / reach, 1.0)


def install(sweep: Sweep) -> None:
    """Multiply the learning rates of every optimizer for the length of each step; scripts and schedulers do not see it."""
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    from vivavoce.attach.guard_loans import Loans

    loans = Loans()
    counts: dict[int, int] = defaultdict(int)

    def before(optimizer: Any, *_: Any) -> None:
        counts[id(optimizer)] += 1
        loans.lower_rates(optimizer, sweep.factor(counts[id(optimizer)]))

    register_optimizer_step_pre_hook(before)
    register_optimizer_step_post_hook(lambda *_: loans.give_back())


def best_factor(run: Run, sweep: Sweep) -> float | None:
    """The factor that a swept run speaks for; None where its loss never fell clearly."""
    series = run.train_loss
    if len(series) < FEWEST_STEPS // 2:
        return None
    broken = np.flatnonzero(~np.isfinite(series.mean))
    end = int(broken[0]) if len(broken) else len(series)
    first = max(WINDOW, int(FIRST * len(series)))
    if end <= first:
        return None
    losses = _smoothed(series.mean[:end])
    start, spread = float(np.median(series.mean[:first])), float(np.std(series.mean[:first]))
    lowest = int(np.argmin(losses))
    if not losses[lowest] < start - CLEARLY * spread:
        return None
    return sweep.factor(int(series.steps[lowest])) / BELOW


def _smoothed(losses: Floats) -> Floats:
    """The running median, of fewer values at both ends."""
    half = WINDOW // 2
    return np.array([np.median(losses[max(0, i - half) : i + half + 1]) for i in range(len(losses))])
