"""Whether the loss depends on the position in the epoch: then the data come in the same order each time.

The logarithm of the loss is folded by the length of an epoch. What all epochs share at a position is held against what
they do not share, by an F-test; the course of each epoch (a parabola) is removed before, since learning itself falls
with the position.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma, log, log1p

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.measure.spectrum_transform import Floats

LEVEL = 1e-3  # chance of a false alarm in one run
FEWEST_POSITIONS = 8  # in an epoch
FEWEST_EPOCHS = 2
COURSE = 3  # numbers of the course of an epoch: a parabola
TINY = 1e-300


@dataclass(frozen=True)
class Order:
    """The verdict on a run. `share` of the variance within epochs repeats from epoch to epoch; `p` is its chance."""

    p: float
    f: float
    share: float
    epochs: int
    positions: int
    profile: Floats  # mean of the log loss at each position, without the course; shape (positions,)

    @property
    def fixed(self) -> bool:
        """Whether the data came in the same order in each epoch."""
        return self.p < LEVEL


def data_order(loss: ArrayLike, epoch: int) -> Order:
    """Judge losses (n,), one a step from the first step of an epoch on; `epoch` is the number of steps in one.

    The last step of an epoch is left out: its batch is often a smaller one. So is the first epoch where three are
    there, because the loss falls fastest in it. Raises ValueError for fewer than two whole epochs of eight steps, and
    losses that are not positive and finite.
    """
    values = np.asarray(loss, np.float64)
    epochs = len(values) // epoch if epoch > 0 else 0
    positions = epoch - 1
    if epochs < FEWEST_EPOCHS or positions < FEWEST_POSITIONS - 1:
        raise ValueError(
            f"{FEWEST_EPOCHS} epochs of {FEWEST_POSITIONS} steps are needed, got {len(values)} losses of {epoch} an epoch"
        )
    used = values[: epochs * epoch].reshape(epochs, epoch)[1 if epochs > FEWEST_EPOCHS else 0 :, :positions]
    if not (np.isfinite(used) & (used > 0)).all():
        raise ValueError("the losses must be positive and finite")
    rest = _without_course(np.log(np.maximum(used, TINY)))
    return _tested(rest)


def _without_course(logs: Floats) -> Floats:
    """The rows without the parabola that fits each best."""
    x = np.linspace(-1, 1, logs.shape[1])
    basis = np.linalg.qr(np.vander(x, COURSE))[0]
    rest: Floats = logs - (logs @ basis) @ basis.T
    return rest


def _tested(rest: Floats) -> Order:
    epochs, positions = rest.shape
    profile = rest.mean(axis=0)
    between, within = positions - COURSE, (epochs - 1) * (positions - COURSE)
    shared = epochs * float(profile @ profile)
    alone = float(((rest - profile) ** 2).sum())
    f = (shared / between) / (alone / within) if alone > 0 else (np.inf if shared > 0 else 0.0)
    total = shared + alone
    share = shared / total if total > 0 else 0.0
    return Order(f_tail(f, between, within), float(f), share, epochs, positions, profile)


def f_tail(f: float, above: float, below: float) -> float:
    """The chance that F with (above, below) degrees of freedom exceeds f: an incomplete beta function."""
    if f <= 0:
        return 1.0
    if not np.isfinite(f):
        return 0.0
    return beta_share(below / (below + above * f), below / 2, above / 2)


def beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_share(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return front / _continued(x, a, b)


def _continued(x: float, a: float, b: float, most: int = 10_000) -> float:
    """The denominator 1 + d₁/(1 + d₂/(1 + …)), by Lentz's method."""
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, most):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1 + term * d) or TINY)
        c = (1 + term / c) or TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
