"""activation-scale: the initial weights make activations shrink or grow from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import first_nonfinite, layer_of, main_optimizer, of_no_layer, weights_of, where
from vivavoce.examine.sensitivity import default_norm
from vivavoce.record.entities import Parameter
from vivavoce.record.run import Run

EARLIEST = 5  # step of the first sample of the weights: later, the training has changed them
LAYERS = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d"})  # with PyTorch's default initialisation
RECURRENT = frozenset({"RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"})
HE = math.sqrt(6.0)  # He's initialisation over PyTorch's default: √(2/fan-in) over √(1/(3 fan-in))
SMALL = 0.1  # times the default norm: initialisations in use are 0.14 (deviation 0.02, narrow layers) … 2.4 (He) times
LARGE = 4.0  # times He's norm
FAR_TOO_LARGE = 30.0  # times the default norm
DEPTH_FACTOR = 1e3  # between the first and the last layer's deviation, whatever the weights
FEWEST_LAYERS = 2  # layers out of scale: one may be meant (a last layer near zero)
FROM_ABOVE = 3.0  # times chance level: where outputs of the wrong size begin
LEFT_FROM_ABOVE = 0.25  # the same as `LEFT`, where a part of the run went into making them smaller
LEFT = 0.5  # fraction of the reference loss that is left: a network that came below it has coped
MOST_ZERO = 0.5  # fraction of the weights that are all zero: symmetric-weights is the name for that


@dataclass(frozen=True)
class Scale:
    """Norms of the layers' weights at the start over PyTorch's default, and the deviation from first to last layer."""

    parameters: tuple[Parameter, ...]
    ratios: tuple[float, ...]
    first_deviation: float
    last_deviation: float

    @property
    def middle(self) -> float:
        """The median ratio."""
        return float(np.median(self.ratios))


class ActivationScale(Detector):
    """Initial weights far from any initialisation in use, or deviations 1,000-fold apart, in a network that does not learn."""

    slug = "activation-scale"
    question = 2
    explains = ("exploding-gradients", "vanishing-gradients", "dead-units", "saturated-units", "learning-rate-too-high", "guessing",
                "non-finite", "underfitting", "learning-rate-too-low", "gradient-spikes", "stopped-too-early", "class-ignored",
                "always-clipped", "label-noise", "oscillating-loss", "no-gradient")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Scale-free: weights are held against the default of their own shape, activations against one another."""
        scale = scale_of(run)
        if scale is None:
            return
        out = _out_of_scale(scale)
        if not out:
            yield RuledOut(self.slug, f"the initial weights are {scale.middle:.2g} × PyTorch's default norm")
        elif _suffered(run, scale):
            yield _finding(run, scale, out)


def scale_of(run: Run) -> Scale | None:
    """The scale of the main optimizer's layers at the start; None where it was not sampled early enough."""
    optimizer = main_optimizer(run)
    weights = weights_of(run, optimizer) if optimizer else None
    if weights is None or int(weights.steps[0]) > EARLIEST:
        return None
    pairs = [
        (p, norm / default_norm(p))
        for p, norm in zip(weights.parameters, weights.weight[0], strict=True)
        if (p.module_class in LAYERS | RECURRENT or of_no_layer(p)) and np.isfinite(norm)
    ]
    if not pairs or sum(ratio == 0 for _, ratio in pairs) >= max(1, MOST_ZERO * len(pairs)):
        return None
    return Scale(tuple(p for p, _ in pairs), tuple(ratio for _, ratio in pairs), *_deviations(run))


def _deviations(run: Run) -> tuple[float, float]:
    """Deviation of the first and of the last layer's output at the first sampled step; NaN where unknown."""
    for track in run.tracks("activation_std"):
        layers = [i for i, id in enumerate(track.columns) if _class(run, int(id)) in LAYERS]
        if len(layers) > FEWEST_LAYERS and len(track) and track.steps[0] <= EARLIEST:
            row = track.mean[0, layers]
            return float(row[0]), float(row[-1])
    return math.nan, math.nan


def _class(run: Run, module: int) -> str:
    return run.modules[module].class_name if module in run.modules else ""


def _out_of_scale(scale: Scale) -> str:
    """What is out of scale, in words; "" where nothing is."""
    small = sum(0 < ratio < SMALL for ratio in scale.ratios)
    large = sum(ratio > LARGE * HE for ratio in scale.ratios)
    count = len(scale.ratios)
    if small >= FEWEST_LAYERS and small > count / 2:
        return f"{small} of {count} weights begin {1 / scale.middle:,.0f} × smaller than PyTorch would make them"
    if large >= FEWEST_LAYERS and large > count / 2:
        return f"{large} of {count} weights begin {scale.middle:,.0f} × larger than PyTorch would make them"
    factor = scale.last_deviation / scale.first_deviation if scale.first_deviation > 0 else math.nan
    usual = 1 / HE < scale.middle < HE * 1.05  # a depth that PyTorch's default cannot cross is vanishing-gradients
    if math.isfinite(factor) and not usual and factor > 0 and not 1 / DEPTH_FACTOR < factor < DEPTH_FACTOR:
        return f"the deviation goes from {scale.first_deviation:.2g} to {scale.last_deviation:.2g} through the layers"
    return ""


def _suffered(run: Run, scale: Scale) -> bool:
    if first_nonfinite(run) is not None:
        return True
    progress = Progress.of(run)
    if progress is None or not progress.bounded:
        return False
    from_nowhere = (
        progress.chance is None and scale.middle > FAR_TOO_LARGE
    )  # the loss fell from where no network begins
    thrown = progress.chance is not None and progress.start > FROM_ABOVE * progress.chance
    held_up = progress.remaining > (LEFT_FROM_ABOVE if thrown else LEFT)
    return (not progress.learned and progress.had_room) or held_up or from_nowhere


def _finding(run: Run, scale: Scale, out: str) -> Finding:
    first = scale.parameters[0]
    deviation = (
        f"; the deviation of the activations goes from {scale.first_deviation:.2g} to {scale.last_deviation:.2g}"
        if math.isfinite(scale.first_deviation) and "deviation" not in out
        else ""
    )
    return Finding(
        slug=ActivationScale.slug,
        severity="critical",
        confidence=0.88,
        question=ActivationScale.question,
        title="Activations grow or shrink from layer to layer at initialisation",
        why=f"{out[0].upper()}{out[1:]}{deviation}, and the network does not learn as it should.",
        where=where(None, layer=layer_of(first), parameter=first.name, first_step=1, last_step=run.steps),
        evidence=(
            Evidence("initial norm / default norm, median weight", scale.middle, "×", SMALL if scale.middle < 1 else LARGE * HE, "in use: 0.2 … 2.4"),
            Evidence("deviation of the last layer's output", scale.last_deviation, "", None, f"of the first: {scale.first_deviation:.3g}"),
        ),
        remedies=(
            Remedy("he-initialisation", "initialise for the activation", "nn.init.kaiming_normal_(layer.weight); nn.init.zeros_(layer.bias)"),
            Remedy("normalisation", "normalise between the layers", "nn.LayerNorm(width)"),
        ),
    )  # fmt: skip
