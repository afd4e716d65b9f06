"""Published rule sets, from their published thresholds, over what Viva recorded of a run. Baselines, implemented in good faith.

AUTOTRAINER (Zhang et al., ICSE 2021), TheDeepChecker (Ben Braiek and Khomh, TOSEM 2023), Amazon SageMaker Debugger's
built-in rules, DeepDiagnosis (Wardat et al., ICSE 2022) and UMLAUT (Schoop et al., CHI 2021).

What they say is mapped to Viva's names generously: an alarm counts as right if any cause that its rule could stand for is
accepted. Rules that need a second pass over the data (zeroed inputs, one batch of 16, activations' similarity) are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from _signals import Signals

LOUD = 1.0  # confidence of a rule: they give none

EXPLODING = ("exploding-gradients", "gradient-spikes", "non-finite", "learning-rate-too-high", "activation-scale")
VANISHING = (
    "vanishing-gradients",
    "saturated-units",
    "activation-scale",
    "no-gradient",
    "symmetric-weights",
    "amp-underflow",
)
DYING = ("dead-units", "learning-rate-too-high", "activation-scale", "output-range")
SATURATED = (
    "saturated-units",
    "activation-scale",
    "unnormalised-input",
    "vanishing-gradients",
    "learning-rate-too-high",
)
UNSTABLE = (
    "oscillating-loss",
    "learning-rate-too-high",
    "batch-too-small",
    "gradient-spikes",
    "unshuffled-data",
    "gradients-not-zeroed",
)
DIVERGING = (
    "learning-rate-too-high",
    "exploding-gradients",
    "gradients-not-zeroed",
    "clip-after-step",
    "oscillating-loss",
)
STUCK = (
    "learning-rate-too-low", "underfitting", "guessing", "capacity-too-small", "vanishing-gradients", "dead-units", "no-gradient",
    "parameters-not-optimized", "loss-output-mismatch", "label-noise", "always-clipped", "symmetric-weights", "target-broadcast",
    "output-range", "class-ignored",
)  # fmt: skip
FROZEN = ("parameters-not-optimized", "no-gradient", "learning-rate-too-low", "amp-underflow", "dead-units")
SCALE = (
    "activation-scale",
    "unnormalised-input",
    "exploding-gradients",
    "vanishing-gradients",
    "saturated-units",
    "symmetric-weights",
)
INPUT = ("unnormalised-input", "bad-input")
BROKEN = (
    "non-finite",
    "exploding-gradients",
    "learning-rate-too-high",
    "bad-input",
    "gradient-spikes",
    "activation-scale",
)
OVERFIT = ("overfitting", "stopped-too-late", "train-eval-mismatch")
IMBALANCE = ("class-imbalance", "class-ignored", "unshuffled-data")
OUTPUT = ("output-range", "loss-output-mismatch", "unnormalised-input")


@dataclass(frozen=True)
class Rule:
    """One published rule: its name, what it may stand for, and whether it fires."""

    name: str
    slugs: tuple[str, ...]
    fires: Callable[[Signals], bool]


def alarms(rules: tuple[Rule, ...], signals: Signals) -> Iterator[Rule]:
    """The rules that fire, in the order of the set: the first is taken for its verdict."""
    with np.errstate(all="ignore"):
        yield from (rule for rule in rules if rule.fires(signals))


def _nonfinite(s: Signals) -> bool:
    return s.broken


def _first_over_last(s: Signals, low: float = 0.0, high: float = math.inf, first_below: float = math.inf) -> bool:
    """‖g_first‖/‖g_last‖ outside the bounds at the median recorded step."""
    if s.gradient.shape[1] < 2:
        return False
    ratio = _middle(s.gradient[:, 0] / s.gradient[:, -1])
    return ratio > high or (ratio < low and _middle(s.gradient[:, 0]) < first_below)


def _middle(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def _mean_gradient(s: Signals, low: float = 0.0, high: float = math.inf) -> bool:
    """mean|g| of some layer outside the bounds at its median step."""
    middles = [_middle(column) for column in s.mean_gradient.T]
    return any(value < low or value > high for value in middles)


def _gradient_trend(s: Signals, *, factor: float, window: int = 5) -> bool:
    """mean|g| of some layer changes by at least the factor from one window to the next, all through the windows."""
    for column in s.mean_gradient.T:
        known = column[np.isfinite(column) & (column > 0)]
        ratio = known[window:] / known[:-window]
        grows = ratio >= factor if factor > 1 else ratio <= factor
        if len(ratio) and grows.mean() > 0.5:
            return True
    return False


def _stuck(s: Signals, window: int, fraction: float) -> bool:
    """The loss of epochs (or of tenths of the run) decreases by less than the fraction over a window."""
    loss = s.epoch_losses
    if len(loss) <= window:
        return False
    fall = (loss[:-window] - loss[window:]) / np.abs(loss[:-window])
    return bool((fall < fraction).any())


def _diverging(s: Signals, factor: float) -> bool:
    loss = s.epoch_losses
    return bool(len(loss) > 1 and (loss[1:] >= factor * np.minimum.accumulate(loss)[:-1]).any())


def _oscillating(s: Signals) -> bool:
    """Accuracy peak to trough of at least 0.03 in at least 20 % of the epochs."""
    accuracy = s.epoch_accuracies
    return len(accuracy) > 2 and float((np.abs(np.diff(accuracy)) >= 0.03).mean()) >= 0.2


def _slow(s: Signals) -> bool:
    """Accuracy below 0.6 that changes by no more than 0.01."""
    accuracy = s.epoch_accuracies
    return bool(len(accuracy) > 2 and accuracy[-1] <= 0.6 and np.ptp(accuracy[-3:]) <= 0.01)


def _dead(s: Signals, share: float, poor: bool = False) -> bool:
    weak = not poor or not len(s.epoch_accuracies) or s.epoch_accuracies[-1] <= 0.6
    return weak and any(value >= share for value in s.dead)


def _update(s: Signals, low: float, high: float) -> bool:
    middle = _middle(s.update.ravel())
    return middle < low or middle > high


def _unchanged(s: Signals) -> bool:
    """Some weight does not change in any sampled step."""
    return bool(len(s.update) and (np.nanmax(s.update, axis=0, initial=0) == 0).any())


def _overfit(s: Signals) -> bool:
    train, validation = s.last_losses
    return (validation - train) / abs(train) > 0.1 if train else False


def _gap(s: Signals) -> bool:
    """Accuracy gap of at least 0.1, or 0.07 above an accuracy of 90 %."""
    train, validation = s.last_accuracies
    return train - validation >= (0.07 if train > 0.9 else 0.1)


def _first_loss(s: Signals) -> bool:
    return s.classes > 1 and abs(s.first_loss - math.log(s.classes)) > 1.0


def _rates(s: Signals, low: float, high: float) -> bool:
    return any(rate < low or rate > high for rate in s.rates)


AUTOTRAINER = (
    Rule("exploding gradient", EXPLODING, lambda s: s.broken or s.highest_loss >= 1e3 or _first_over_last(s, high=70)),
    Rule("vanishing gradient", VANISHING, lambda s: _first_over_last(s, low=1e-3, first_below=1e-4)),
    Rule("dying ReLU", DYING, lambda s: _dead(s, 0.7, poor=True)),
    Rule("oscillating loss", UNSTABLE, _oscillating),
    Rule("slow convergence", STUCK, _slow),
)
DEEPCHECKER = (
    Rule("non-finite", BROKEN, _nonfinite),
    Rule("input statistics", INPUT, lambda s: s.input_constant > 0.5 or s.input_nonfinite),
    Rule("equal weights", ("symmetric-weights",), lambda s: any(share >= 1 for share in s.equal)),
    Rule("first loss", ("activation-scale", "loss-output-mismatch", "symmetric-weights", "unnormalised-input", "class-imbalance"), _first_loss),
    Rule("frozen weights", FROZEN, _unchanged),
    Rule("exploding gradient", EXPLODING, lambda s: _mean_gradient(s, high=1e6) or _gradient_trend(s, factor=2.0)),
    Rule("vanishing gradient", VANISHING, lambda s: _mean_gradient(s, low=1e-6) or _gradient_trend(s, factor=0.5)),
    Rule("dead ReLU", DYING, lambda s: _dead(s, 0.5)),
    Rule("saturation", SATURATED, lambda s: any(share > 0.5 for share in s.saturated)),
    Rule("activation scale", SCALE, lambda s: any(not 0.5 <= scale <= 2 for scale in s.activation_scales)),
    Rule("large updates", DIVERGING, lambda s: _update(s, 0.0, 1e-1)),
    Rule("small updates", STUCK, lambda s: _update(s, 1e-4, math.inf)),
    Rule("imbalance", IMBALANCE, lambda s: s.perplexity_share < 0.5),
    Rule("diverging loss", DIVERGING, lambda s: _diverging(s, 2.0)),
    Rule("stuck loss", STUCK, lambda s: _stuck(s, 5, 0.05)),
)  # fmt: skip
SAGEMAKER = (
    Rule("exploding tensor", BROKEN, _nonfinite),
    Rule("vanishing gradient", VANISHING, lambda s: _mean_gradient(s, low=1e-7)),
    Rule("poor initialisation", SCALE, lambda s: s.variance_ratio > 10),
    Rule("dead ReLU", DYING, lambda s: _dead(s, 0.5)),
    Rule("unchanged tensor", FROZEN, _unchanged),
    Rule("weight update ratio", DIVERGING + STUCK, lambda s: _update(s, 1e-8, 10.0)),
    Rule("data not normalised", INPUT, lambda s: abs(s.input_mean) > 0.2),
    Rule("class imbalance", IMBALANCE, lambda s: s.imbalance > 10),
    Rule("loss diverging", DIVERGING, lambda s: _diverging(s, 1.05)),
    Rule("loss not decreasing", STUCK, lambda s: _stuck(s, 1, 0.001)),
    Rule("overfit", OVERFIT, _overfit),
)
DEEPDIAGNOSIS = (
    Rule("exploding tensor", BROKEN, _nonfinite),
    Rule("unchanged weight", FROZEN, _unchanged),
    Rule("saturated activation", SATURATED, lambda s: any(share > 0.5 for share in s.saturated)),
    Rule("dead node", DYING, lambda s: _dead(s, 0.7)),
    Rule("out of range", OUTPUT, lambda s: s.output_range > 10 * s.target_range),
    Rule("vanishing gradient", VANISHING, lambda s: _mean_gradient(s, low=1e-7)),
    Rule("invalid learning", DIVERGING + STUCK, lambda s: _update(s, 1e-5, 0.1)),
    Rule("loss not decreasing", STUCK + UNSTABLE, lambda s: _stuck(s, 1, 0.0)),
)
UMLAUT = (
    Rule("NaN loss", BROKEN, _nonfinite),
    Rule("input exceeds limits", INPUT, lambda s: s.input_low < -1 or s.input_high > 1),
    Rule("learning rate high", ("learning-rate-too-high", "exploding-gradients", "oscillating-loss"), lambda s: _rates(s, 0.0, 1e-2)),
    Rule("learning rate low", ("learning-rate-too-low", "underfitting", "stopped-too-early"), lambda s: _rates(s, 1e-7, math.inf)),
    Rule("overfitting", OVERFIT, _gap),
)  # fmt: skip

RULESETS = {
    "AUTOTRAINER": AUTOTRAINER,
    "TheDeepChecker": DEEPCHECKER,
    "SageMaker Debugger": SAGEMAKER,
    "DeepDiagnosis": DEEPDIAGNOSIS,
    "UMLAUT": UMLAUT,
}
