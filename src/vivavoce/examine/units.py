"""Fractions of units in a bad state, module by module: what dead-units and saturated-units share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vivavoce.examine.reading import finite
from vivavoce.measure.trend import step_change
from vivavoce.record.entities import Module
from vivavoce.record.run import Run

CLEAR_CHANGE = 0.5  # fraction of the variance that one step must explain before an onset is named


@dataclass(frozen=True)
class Share:
    """A module's fraction of bad units: at the very first sample, at the first three, and the median of the later half."""

    module: Module
    initial: float
    first: float
    late: float
    step: int  # where the fraction changed, if it did at once; else the first step looked at


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
            split, gain = step_change(values)
            onset = int(series.steps[split]) if gain > CLEAR_CHANGE else int(series.steps[0])
            found.append(Share(module, float(values[0]), float(np.median(values[:3])), late, onset))
    return found
