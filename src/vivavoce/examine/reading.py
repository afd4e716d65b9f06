"""Small helpers that detectors share: places in words, names in order, gradient norms of a whole step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.finding import Where
from vivavoce.record.entities import Optimizer, Parameter, Site
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

NO_GRADIENT = -1.0  # what gradient_norm holds where a parameter's gradient is None


def at(site: Site | None, otherwise: str = "the training loop") -> str:
    """A place as people write it: "train.py:57"."""
    return f"{PurePath(site.file).name}:{site.line}" if site else otherwise


def where(site: Site | None = None, **place: object) -> Where:
    """A `Where` at a source line, with any of its other fields."""
    return Where(file=site.file if site else None, line=site.line if site else None, **place)  # type: ignore[arg-type]


def some(names: list[str], most: int = 3) -> str:
    """A short list in words: "a, b, c and 4 more"."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def layer_of(parameter: Parameter) -> str:
    """The qualified name of the module that owns a parameter."""
    return parameter.name.rpartition(".")[0] or parameter.name


def scalars(parameters: list[Parameter]) -> int:
    """Number of scalars in the parameters."""
    return sum(parameter.numel for parameter in parameters)


def is_weight(parameter: Parameter) -> bool:
    """A matrix or kernel: biases and normalisation gains start at zero or one and say little of scale."""
    return len(parameter.shape) >= 2 and parameter.numel > 1


@dataclass(frozen=True)
class Norms:
    """The gradient of all parameters of an optimizer at each recorded step.

    Shapes (n,): `steps`; `typical`, the L2 norm; `peak`, its largest value where the row stands for many;
    `nonfinite`, values that were NaN or infinite.
    """

    steps: NDArray[np.int64]
    typical: NDArray[np.float64]
    peak: NDArray[np.float64]
    nonfinite: NDArray[np.int64]
    unit: str = "L2 norm"


def gradient_norms(run: Run, optimizer: Optimizer) -> Norms:
    """The norm of the whole gradient at each recorded step, from the norms of the parameters."""
    tracks = [track for track in run.tracks("gradient_norm") if track.owner == ("optimizer", optimizer.id)]
    parts = [_total(track) for track in tracks if len(track)]
    if not parts:
        empty = np.zeros(0)
        return Norms(np.zeros(0, np.int64), empty, empty, np.zeros(0, np.int64))
    steps, typical, peak, nonfinite = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(steps, kind="stable")
    return Norms(steps[order], typical[order], peak[order], nonfinite[order])


def _total(track: Track) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    broken = track.nonfinite.sum(axis=1)
    with np.errstate(over="ignore"):
        typical = np.sqrt(np.sum(np.clip(track.mean, 0, None) ** 2, axis=1))
        peak = np.sqrt(np.sum(np.clip(track.maximum, 0, None) ** 2, axis=1))
    return track.steps, typical, peak, broken


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The finite values."""
    return values[np.isfinite(values)]
