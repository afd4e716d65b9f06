"""The course of the main validation loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.progress import Progress
from vivavoce.measure.robust import median, stream_noise
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run

FEWEST_PASSES = 5  # passes: a best one with some on either side
END_FRACTION = 0.1  # of the passes, at least END_PASSES: their median is the end level
END_PASSES = 3


@dataclass(frozen=True)
class Validation:
    """Loss (n,) and accuracy (n,) at each validation pass; levels are in the unit of the loss.

    `noise` is the standard deviation of one pass about its level, from the differences of successive passes.
    """

    site: Loss
    steps: NDArray[np.int64]
    losses: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    noise: float
    comparable: bool = True  # with the training loss: both are means, not sums over batches of other sizes

    @property
    def best(self) -> int:
        """Index of the lowest loss."""
        return int(np.argmin(self.losses))

    @property
    def end_passes(self) -> int:
        """Passes that the end level is the median of."""
        return min(len(self.losses), max(END_PASSES, int(END_FRACTION * len(self.losses))))

    @property
    def end(self) -> float:
        """The level at the end."""
        return median(self.losses[-self.end_passes :])

    @property
    def lowest(self) -> float:
        """The level at the best pass: the median of it and its neighbours, so that one lucky pass does not count."""
        return median(self.losses[max(0, self.best - 1) : self.best + 2])

    @property
    def rise_error(self) -> float:
        """Standard error of the difference between the end level and the lowest level (two medians)."""
        return self.noise * math.sqrt(math.pi / 2 * (1 / self.end_passes + 1 / 3))


def validation_of(run: Run, progress: Progress, fewest: int = FEWEST_PASSES) -> Validation | None:
    """The validation passes with the training's loss function; None where there are fewer than `fewest`."""
    passes: dict[int, int] = {}
    for track in run.tracks("val/loss"):
        site = run.losses.get(track.owner[1]) if track.owner else None
        if site is not None and site.function == progress.function:
            passes[site.id] = passes.get(site.id, 0) + len(track)
    if not passes:
        return None
    site = run.losses[max(passes, key=lambda id: passes[id])]
    owner = ("loss", site.id)
    losses = run.series("val/loss", owner, "loss")
    keep = np.isfinite(losses.mean) & _of_one_set(run, owner, len(losses))
    if int(keep.sum()) < fewest:
        return None
    accuracy = run.series("val/loss", owner, "accuracy").mean
    values = losses.mean[keep]
    accuracy = accuracy[keep] if len(accuracy) == len(keep) else np.full(len(values), np.nan)
    raw = progress.loss is not None and not progress.as_variance
    comparable = raw and site.reduction == "mean" == (progress.loss.reduction if progress.loss else "")
    noise = max(stream_noise(values), _batch_error(run, owner) if len(values) < FEWEST_PASSES else 0.0)
    return Validation(site, losses.steps[keep], values, accuracy, noise, comparable)


def _of_one_set(run: Run, owner: tuple[str, int], passes: int) -> NDArray[np.bool_]:
    """Passes over as many batches as most: a test set at the end is other data. All, where that is not known."""
    batches = run.series("val/loss", owner, "batches").mean
    if len(batches) != passes or passes < FEWEST_PASSES:
        return np.ones(passes, dtype=np.bool_)
    sizes, counts = np.unique(batches, return_counts=True)
    return batches == sizes[np.argmax(counts)] if counts.max() >= passes - 1 else np.ones(passes, dtype=np.bool_)


def _batch_error(run: Run, owner: tuple[str, int]) -> float:
    """Standard error of a pass's mean, from the deviation of its batches: where there are too few passes to compare."""
    deviation, batches = (run.series("val/loss", owner, name).finite.mean for name in ("deviation", "batches"))
    if not len(deviation) or not len(batches) or not batches.min() > 1:
        return 0.0
    return median(deviation) / math.sqrt(float(np.median(batches)))
