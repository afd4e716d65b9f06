"""The wrong examples of the training batches: how many there are, how sure the network is of them, what their labels are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.progress import Progress
from vivavoce.measure.robust import median
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

FEWEST_ERRORS = 8.0  # wrong examples: fewer say nothing
HONEST_RANK = 0.2  # mean rank of the label among the other classes where the errors are honest; measured: 0 … 0.2
RANK_SD = 0.3  # standard deviation of a rank that is uniform in [0, 1]
SKILL = 0.4  # of the way from chance to no errors: below it the labels of honest errors rank 0.2 … 0.5, too
LATE = 0.7  # of the run


@dataclass(frozen=True)
class Doubt:
    """The wrong examples of skilled batches: their share, the mean rank of their labels, and of how many errors.

    `rank` is NaN where there are only two classes.
    """

    wrong: float
    rank: float
    sure: float  # errors among the surer half of each batch
    surest: float  # errors among the surest quarter
    errors: float

    @property
    def rank_error(self) -> float:
        """Standard error of the rank."""
        return RANK_SD / math.sqrt(max(1.0, self.errors))

    @property
    def z(self) -> float:
        """Standard errors by which the rank lies above that of honest errors."""
        return (self.rank - HONEST_RANK) / self.rank_error


def doubt_of(run: Run, progress: Progress) -> Doubt | None:
    """The wrong examples of the batches in which the network showed skill; None where there were too few."""
    track = doubts(run, progress)
    if track is None:
        return None
    limit = skilled(progress)
    if _of_two(progress) and not median(track.mean[len(track) // 2 :, 0]) < limit:
        return None  # batches that were lucky, of a task where yes and no hang on little
    return _doubt(track, track.mean[:, 0] < limit)


def late_doubt(run: Run, progress: Progress) -> Doubt | None:
    """The same of all batches near the end of the run: for networks whose skill shows elsewhere."""
    track = doubts(run, progress)
    return None if track is None else _doubt(track, track.steps > LATE * run.steps)


def doubts(run: Run, progress: Progress) -> Track | None:
    """The signal `label_doubt` of the training loss; None where nothing was recorded."""
    owner = ("loss", progress.loss.id) if progress.loss else None
    return next((track for track in run.tracks("label_doubt") if track.owner == owner), None)


def _of_two(progress: Progress) -> bool:
    return progress.loss is None or (progress.loss.classes or 2) <= 2


def skilled(progress: Progress) -> float:
    """The fraction of wrong examples below which a network shows skill."""
    classes = progress.loss.classes if progress.loss else None
    return (1 - SKILL) * (1 - 1 / max(2, classes or 2))


def _doubt(track: Track, rows: NDArray[np.bool_]) -> Doubt | None:
    column = {name: track.mean[rows, i] for i, name in enumerate(track.columns)}
    rank, examples, errors = column["rank"], column["examples"], column["errors"]
    counted = float(np.nansum(errors))
    if counted < FEWEST_ERRORS:
        return None
    known = np.isfinite(rank) & (errors > 0)
    mean_rank = float(np.average(rank[known], weights=errors[known])) if known.any() else math.nan
    half = float(np.average(column["sure_wrong"], weights=examples))
    quarter = float(np.average(column["surest_wrong"], weights=examples)) if "surest_wrong" in column else math.nan
    return Doubt(counted / float(np.nansum(examples)), mean_rank, half, quarter, counted)
