"""oscillating-loss: the loss swings up and down by much of its size instead of falling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import SIGNIFICANT, Progress
from vivavoce.examine.reading import main_optimizer, where
from vivavoce.record.run import Run

SWING = 0.5  # fraction of the reference loss between a turn and the next (AUTOTRAINER: accuracy peak to trough ≥ 0.03)
FEWEST_TURNS = 3  # turns: up, down, up; a loss that rises once has diverged or met a new task
HEAVY = 0.98  # momentum that swings slowly: a run may hold no more than one turn; in use: 0.9
LEFT = 0.5  # fraction of the reference loss at the end: below it the swings did no lasting harm


class OscillatingLoss(Detector):
    """Block levels of the loss turn several times by half of the loss or more, and little is learned in the end."""

    slug = "oscillating-loss"
    question = 8
    passing = True

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Noise turns, too, but not the medians of blocks by many of its standard errors."""
        progress = Progress.of(run)
        if (
            progress is None
            or not progress.bounded
            or progress.as_variance
            or progress.reference <= 0
            or len(progress.levels) < 12
        ):
            return
        least = max(SWING * progress.reference, SIGNIFICANT * progress.noise)
        found = turns(progress.levels, least)
        if found < (1 if _momentum(run) > HEAVY else FEWEST_TURNS):
            yield RuledOut(self.slug, f"the level of the loss turned {found} times by {SWING:.0%} or more")
        elif progress.end > LEFT * progress.reference:
            yield _finding(run, progress, found)


def turns(levels: NDArray[np.float64], least: float) -> int:
    """How often a sequence (n,) turns after having moved by `least` or more the other way (rainflow counting, one range)."""
    count, low, high, direction = 0, levels[0], levels[0], 0
    for value in levels:
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value >= least:
            count, direction, low = count + (direction != 0), -1, value
        elif direction <= 0 and value - low >= least:
            count, direction, high = count + (direction != 0), 1, value
    return count


def _momentum(run: Run) -> float:
    optimizer = main_optimizer(run)
    return max((float(g.get("momentum") or 0) for g in optimizer.groups), default=0.0) if optimizer else 0.0


def _finding(run: Run, progress: Progress, found: int) -> Finding:
    optimizer = main_optimizer(run)
    momentum = _momentum(run)
    extra = (
        f" A momentum of {momentum:g} goes on for {1 / (1 - momentum):,.0f} steps, past the minimum."
        if HEAVY < momentum < 1
        else ""
    )
    often = "once" if found == 1 else f"{found} times"
    return Finding(
        slug=OscillatingLoss.slug,
        severity="warning",
        confidence=0.8,
        question=OscillatingLoss.question,
        title="The loss oscillates instead of falling",
        why=(
            f"The level of the loss turned {often} by at least {SWING:.0%} of what it began with, between {progress.best:.3g} and "
            f"{float(np.max(progress.levels)):.3g}, and ended at {progress.end:.3g}.{extra}"
        ),
        where=where(optimizer.site if optimizer else None, first_step=1, last_step=progress.last_step),
        evidence=(Evidence("turns of the loss", float(found), "count", float(FEWEST_TURNS), f"by {SWING:.0%} of the loss"),),
        remedies=(
            Remedy("lower-momentum", "less momentum", "momentum=0.9") if momentum > 0.95
            else Remedy("lower-learning-rate", "lower the learning rate", "lr / 3"),
            Remedy("schedule", "let the learning rate fall", "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)"),
        ),
    )  # fmt: skip
