"""Fractions of units in a bad state, module by module: what dead-units and saturated-units share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vivavoce.examine.reading import finite
from vivavoce.record.entities import Module
from vivavoce.record.run import Run


@dataclass(frozen=True)
class Share:
    """A module's fraction of bad units: at the first samples, and the median of the later half."""

    module: Module
    first: float
    late: float
    step: int  # first step from which the fraction stayed near its late level


def shares(run: Run, name: str) -> list[Share]:
    """The shares of all modules that the signal `name` has finite values for, in the order of the modules."""
    found = []
    for track in run.tracks(name):
        for label in track.columns:
            module = run.modules.get(int(label))
            series = track.column(label).finite
            if module is None or not len(series):
                continue
            values = finite(series.mean)
            late = float(np.median(values[len(values) // 2 :]))
            below = np.flatnonzero(values < 0.9 * late)
            onset = int(series.steps[min(below[-1] + 1, len(values) - 1)]) if len(below) else int(series.steps[0])
            found.append(Share(module, float(np.median(values[:3])), late, onset))
    return found
