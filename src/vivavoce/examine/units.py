"""Fractions of units in a bad state, module by module: what dead-units and saturated-units share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.reading import finite
from vivavoce.measure.trend import step_change
from vivavoce.record.entities import Module
from vivavoce.record.run import Run

FIRST_STEPS = 1  # of a model: what was looked at later, large steps may have brought about
CLEAR_CHANGE = 0.5  # fraction of the variance that one step must explain before an onset is named


@dataclass(frozen=True)
class Share:
    """A module's fraction of bad units: at the beginning (NaN where not looked at), at the first samples, later (a median)."""

    module: Module
    initial: float
    first: float
    late: float
    step: int  # where the fraction changed, if it did at once; else the first step looked at


def shares(run: Run, name: str) -> list[Share]:
    """The shares of all modules that the signal `name` has finite values for, in the order of the modules."""
    found = []
    began: dict[int | None, int] = {}
    for parameter in run.parameters.values():
        began[parameter.model] = min(parameter.first_step, began.get(parameter.model, parameter.first_step))
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
            early = int(series.steps[0]) <= began.get(module.model, 0) + FIRST_STEPS
            found.append(
                Share(module, float(values[0]) if early else math.nan, float(np.median(values[:3])), late, onset)
            )
    return found
