"""What a run was worth: every yardstick that can be read off a recorded run and its printed output."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np

from vivavoce.examine.finding import json_safe
from vivavoce.examine.progress import Progress, main_function
from vivavoce.examine.validation import validation_of
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.record.tracks import Floats, Integers, Series

Better = Literal["higher", "lower"]

VALIDATION_LOSS = "validation loss"
VALIDATION_ACCURACY = "validation accuracy"
TRAINING_LOSS = "training loss"
TRAINING_ACCURACY = "training accuracy"
CHANCE_LEFT = "share of the chance level left"
PRINTED = "printed "  # followed by the name

END_FRACTION = 0.1  # of the rows: what the level at the end is the mean of
END_PASSES = 3  # validation passes at most: a script's last pass is what it ends with
SPOILED = 0.1  # of the last rows: with more of them not finite, the level is not finite
FEWEST_ROWS = 10  # rows of training loss below which there is no level
SQUASHED = ("Softmax", "LogSoftmax", "Sigmoid")  # operations that make another loss of the same function
SAME_SPREAD = 2.0  # ratio of the targets' deviations from which on they are in another unit

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"


@dataclass(frozen=True)
class Kind:
    """What the training loss is: runs whose kinds differ have losses that cannot be compared.

    `squashed`: it is given outputs of softmax or sigmoid; `broadcast`: its two arguments differ in their number of dimensions;
    `target_spread`: standard deviation of the targets, None where they are classes or unknown; `altered`: a remedy weighs or smooths it.
    """

    function: str = ""
    reduction: str = ""
    squashed: bool = False
    broadcast: bool = False
    target_spread: float | None = None
    altered: bool = False

    def comparable(self, other: Kind) -> bool:
        """Whether a lower loss of one kind means the same as of the other."""
        mine = (self.function, self.reduction, self.squashed, self.broadcast, self.altered)
        if mine != (other.function, other.reduction, other.squashed, other.broadcast, other.altered):
            return False
        if not self.target_spread or not other.target_spread:
            return True
        return 1 / SAME_SPREAD < self.target_spread / other.target_spread < SAME_SPREAD


@dataclass(frozen=True)
class Reading:
    """The end levels of a run by yardstick (NaN: it ended not finite), the kind of its loss, and how many networks play."""

    levels: Mapping[str, float]
    kind: Kind = field(default_factory=Kind)
    players: int = 1

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; non-finite numbers become strings."""
        data: dict[str, Any] = json_safe(asdict(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        levels = {name: float(level) for name, level in data["levels"].items()}
        return cls(levels, Kind(**data["kind"]), data["players"])


def read(run: Run, output: str = "", metric: str | None = None, altered: bool = False) -> Reading:
    """Read every yardstick off a run; `metric` is the name of a printed number, `altered` that a remedy changes the loss."""
    progress = Progress.of(run)
    site = progress.loss if progress else None
    levels = {
        VALIDATION_LOSS: _validation(run, progress, "loss"),
        VALIDATION_ACCURACY: _validation(run, progress, "accuracy"),
        TRAINING_LOSS: _training(run),
        TRAINING_ACCURACY: _tail(_longest(run, "train/accuracy")),
        CHANCE_LEFT: _chance_left(progress),
    }
    if metric is not None:
        levels[PRINTED + metric] = printed(output, metric)
    found = {name: level for name, level in levels.items() if level is not None}
    return Reading(found, replace(_kind(run, site), altered=altered), progress.players if progress else 1)


def printed(output: str, name: str) -> float | None:
    """The last number printed as `name value`, `name: value` or `name=value`; None where there is none."""
    pattern = rf"(?<![\w.]){re.escape(name)}\b['\"]?\s*[:=]?\s*({_NUMBER})(?![\w.]*[A-Za-z])"
    found = re.findall(pattern, output, flags=re.IGNORECASE if name.islower() else 0)
    return float(found[-1]) if found else None


def better_of(yardstick: str) -> Better:
    """Which way a yardstick of ours is better."""
    return "higher" if yardstick in (VALIDATION_ACCURACY, TRAINING_ACCURACY) else "lower"


def _training(run: Run) -> float | None:
    """The mean raw loss of the last tenth of the steps, each taken before the step that learns from its batch.

    Of the loss function where something else was added to what is given to backward (a penalty on the weights).
    """
    site = main_function(run)
    series = run.train_loss
    if site is not None and run.main_loss is not None and not run.main_loss.function:
        own = run.series("train/function_loss", ("loss", site.id))
        series = own if len(own) >= FEWEST_ROWS else series
    return _tail(series) if len(series) >= FEWEST_ROWS else None


def _tail(series: Series | None) -> float | None:
    if series is None or not len(series):
        return None
    rows = max(1, int(END_FRACTION * len(series)))
    return _mean(series.mean[-rows:], series.counts[-rows:])


def _mean(values: Floats, counts: Integers) -> float:
    finite = np.isfinite(values)
    if counts[~finite].sum() > SPOILED * counts.sum():
        return math.nan
    return float(np.average(values[finite], weights=counts[finite]))


def _validation(run: Run, progress: Progress | None, column: str) -> float | None:
    """The mean of the last validation passes: one of ten, three at most."""
    owner = _validation_owner(run, progress)
    series = run.series("val/loss", owner, column) if owner else None
    if series is None or not len(series) or (column == "accuracy" and not np.isfinite(series.mean).any()):
        return None
    rows = min(END_PASSES, max(1, int(END_FRACTION * len(series))))
    return _mean(series.mean[-rows:], series.counts[-rows:])


def _validation_owner(run: Run, progress: Progress | None) -> tuple[str, int] | None:
    """The main validation loss: of the training's function where there is one, else the one with the most passes."""
    if progress is not None:
        validation = validation_of(run, progress, fewest=1)
        if validation is not None:
            return ("loss", validation.site.id)
    rows: dict[tuple[str, int], int] = {}
    for track in run.tracks("val/loss"):
        if track.owner is not None:
            rows[track.owner] = rows.get(track.owner, 0) + len(track)
    return max(rows, key=lambda owner: rows[owner]) if rows else None


def _longest(run: Run, signal: str) -> Series | None:
    tracks = [track for track in run.tracks(signal) if len(track)]
    if not tracks:
        return None
    longest = max(tracks, key=len)
    return run.series(signal, longest.owner)


def _chance_left(progress: Progress | None) -> float | None:
    if progress is None or progress.chance is None or not progress.bounded or progress.chance <= 0:
        return None
    return progress.end / progress.chance


def _kind(run: Run, site: Loss | None) -> Kind:
    if site is None:
        return Kind()
    spread = None
    if site.classes is None:
        target = run.series("target", ("loss", site.id), "std").finite
        spread = float(np.median(target.mean)) if len(target) else None
    return Kind(
        function=site.function,
        reduction=site.reduction,
        squashed=site.classes is not None and site.prediction_op.startswith(SQUASHED),
        broadcast=bool(site.target_shape)
        and site.classes is None
        and len(site.prediction_shape) != len(site.target_shape),
        target_spread=spread,
    )
