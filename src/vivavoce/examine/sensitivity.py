"""How strongly the loss reacts to the weights at the very first step, before any update could have done harm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.reading import Weights, unclipped_norms, weights_of
from vivavoce.record.entities import Optimizer, Parameter
from vivavoce.record.run import Run


@dataclass(frozen=True)
class Sensitivity:
    """‖∂L/∂w‖·‖w‖/L of the most sensitive weight at the first recorded step.

    The factor by which the relative change of a weight comes back as relative change of the loss. Free of scale: it
    stays the same when the loss, or the weight and its gradient's unit, are rescaled.
    """

    value: float
    parameter: Parameter
    step: int
    loss: float


def initial_sensitivity(run: Run, optimizer: Optimizer) -> Sensitivity | None:
    """The sensitivity at the first sampled step, before clipping; None where it was not recorded or the loss is not above 0."""
    weights = weights_of(run, optimizer)
    loss = run.train_loss
    if weights is None or not len(loss) or int(weights.steps[0]) > int(loss.steps[0]) + 1:
        return None
    first = float(loss.mean[0])
    if not 0 < first < math.inf:
        return None
    values = weights.gradient[0] * weights.weight[0] * _clip_factor(run, optimizer, weights) / first
    if not np.isfinite(values).any():
        return None
    best = int(np.nanargmax(np.where(np.isfinite(values), values, -math.inf)))
    return Sensitivity(float(values[best]), weights.parameters[best], int(weights.steps[0]), first)


def _clip_factor(run: Run, optimizer: Optimizer, weights: Weights) -> float:
    """What clipping divided the first gradient by."""
    before = unclipped_norms(run, optimizer)
    with np.errstate(over="ignore"):
        after = float(np.sqrt(np.sum(np.clip(weights.gradient[0], 0, None) ** 2)))
    if not before.unit.endswith("clipping") or not after > 0:
        return 1.0
    factor = float(before.typical[0]) / after
    return factor if math.isfinite(factor) and factor > 1 else 1.0
