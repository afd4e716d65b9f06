"""How strongly the loss reacts to the weights at the very first step, before any update could have done harm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.reading import column_median, is_weight, of_no_layer, optimizer_track, unclipped_norms, weights_of
from vivavoce.measure.robust import median
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


ADAPTIVE = frozenset(
    {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop"}
)  # step 1: the rate or more, a scalar
GATES = {
    "RNN": 1,
    "RNNCell": 1,
    "GRU": 3,
    "GRUCell": 3,
    "LSTM": 4,
    "LSTMCell": 4,
}  # times the hidden size: rows of a weight
DRAWN = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d", "Embedding", "EmbeddingBag", *GATES})
ENOUGH = 64  # scalars of a weight: the norm of fewer random ones varies by 5 % and more
SAME = 0.1  # difference of a weight's norm from the expected one
PLAIN = frozenset({"SGD"})


@dataclass(frozen=True)
class Beginning:
    """An optimizer's weights and their gradients at the first recorded step.

    Shapes (k,) for k weights. Where the weights were sampled only later, when a large step may have changed them, the
    norm that PyTorch's default initialisation gives is used if it is smaller.
    """

    parameters: tuple[Parameter, ...]
    step: int
    gradient: NDArray[np.float64]
    weight: NDArray[np.float64]


def beginning(run: Run, optimizer: Optimizer) -> Beginning | None:
    """The beginning of an optimizer's training; None where its first gradients were not recorded."""
    weights, track = weights_of(run, optimizer), optimizer_track(run, "gradient_norm", optimizer)
    if track is None or not len(run.train_loss) or track.steps[0] > run.train_loss.steps[0] + 1:
        return None
    known = (run.parameters[int(id)] for id in track.columns if id in run.parameters)
    parameters = weights.parameters if weights else tuple(parameter for parameter in known if is_weight(parameter))
    if not parameters:
        return None
    norms = np.array([default_norm(parameter) for parameter in parameters])
    if weights is not None:
        norms = np.minimum(weights.weight[0], norms if weights.steps[0] > track.steps[0] else math.inf)
    columns = [track.columns.index(parameter.id) for parameter in parameters]
    return Beginning(parameters, int(track.steps[0]), track.mean[0, columns], norms)


def _typical(run: Run, optimizer: Optimizer) -> Beginning | None:
    """The median gradients of an optimizer whose first step was not recorded, beside weights of PyTorch's default size."""
    track = optimizer_track(run, "gradient_norm", optimizer)
    if track is None:
        return None
    known = [run.parameters[int(id)] for id in track.columns if id in run.parameters]
    parameters = tuple(parameter for parameter in known if is_weight(parameter))
    if not parameters:
        return None
    gradients = column_median(track.mean[:, [track.columns.index(parameter.id) for parameter in parameters]])
    norms = np.array([default_norm(parameter) for parameter in parameters])
    return Beginning(parameters, int(track.steps[0]), gradients, norms)


def default_norm(parameter: Parameter) -> float:
    """The expected norm of a weight as PyTorch initialises it: uniform in ± 1/√fan-in, deviation 1/√(3 fan-in).

    Of a matrix that no layer holds, the larger of the two that it may have.
    """
    return math.sqrt((max(parameter.shape) if of_no_layer(parameter) else parameter.shape[0]) / 3)


def drawn_norm(parameter: Parameter) -> float:
    """The expected norm of a weight as PyTorch draws it: normal in embeddings, uniform in ± 1/√hidden in recurrent layers."""
    if parameter.module_class in ("Embedding", "EmbeddingBag"):
        return math.sqrt(parameter.numel)
    if parameter.module_class in GATES:
        return math.sqrt(parameter.numel * GATES[parameter.module_class] / (3 * parameter.shape[0]))
    return default_norm(parameter)


def as_drawn(parameters: list[Parameter], norms: dict[int, float]) -> bool:
    """Whether most of the weights, by scalars, have the norms (by id) that PyTorch's initialisation gives."""
    known = [p for p in parameters if p.id in norms and p.module_class in DRAWN and p.numel >= ENOUGH]
    fresh = [p for p in known if abs(norms[p.id] / drawn_norm(p) - 1) < SAME]
    return sum(p.numel for p in fresh) > sum(p.numel for p in known) / 2


def first_update(run: Run, optimizer: Optimizer, *, highest_rate: bool = False) -> float:
    """‖Δw‖/‖w‖ of the median weight in the first step, computed from gradient and learning rate; NaN where unknown.

    With `highest_rate`, what it would be at the highest learning rate of the run.
    """
    start, rates = beginning(run, optimizer), run.series("learning_rate", ("optimizer", optimizer.id)).finite
    if start is None and highest_rate:
        start = _typical(run, optimizer)
    if start is None or not len(rates):
        return math.nan
    rate = float(rates.maximum.max() if highest_rate else rates.mean[0])
    sizes = np.sqrt([parameter.numel for parameter in start.parameters])
    length = sizes if optimizer.class_name in ADAPTIVE else start.gradient if optimizer.class_name in PLAIN else None
    if length is None or rate <= 0:
        return math.nan
    known = (start.weight > 0) & (start.gradient > 0)
    return median(rate * length[known] / start.weight[known])


def initial_sensitivity(run: Run, optimizer: Optimizer) -> Sensitivity | None:
    """The sensitivity at the first step, before clipping; None where it was not recorded or the loss is not above 0."""
    start = beginning(run, optimizer)
    first = float(run.train_loss.mean[0]) if start else math.nan
    if start is None or not 0 < first < math.inf:
        return None
    values = start.gradient * start.weight * _clip_factor(run, optimizer, start) / first
    if not np.isfinite(values).any():
        return None
    best = int(np.argmax(np.where(np.isfinite(values), values, -math.inf)))
    return Sensitivity(float(values[best]), start.parameters[best], start.step, first)


def _clip_factor(run: Run, optimizer: Optimizer, start: Beginning) -> float:
    """What clipping divided the first gradient by."""
    before = unclipped_norms(run, optimizer)
    with np.errstate(over="ignore"):
        after = float(np.sqrt(np.sum(np.clip(start.gradient, 0, None) ** 2)))
    if not before.unit.endswith("clipping") or not after > 0:
        return 1.0
    factor = float(before.typical[0]) / after
    return factor if math.isfinite(factor) and factor > 1 else 1.0
