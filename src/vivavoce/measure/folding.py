"""Does a noisy stream repeat itself with a known period? Fold it, remove the slow part, compare the variances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TREND_DEGREE = 2  # of the polynomial that is taken out of every period
FEWEST_PERIODS = 3  # with two, one odd period decides everything
FEWEST_POSITIONS = 6  # in a period: the polynomial takes three of them


@dataclass(frozen=True)
class Fold:
    """How much of a stream is a pattern that every period repeats.

    `f` is the variance between the means of the positions over the variance within positions, `z` the standard normal
    deviate as improbable as it is, `share` the fraction of the variance that the pattern explains (0 … 1).
    """

    f: float
    z: float
    share: float
    periods: int
    positions: int


def fold(values: Floats, period: int) -> Fold | None:
    """One-way analysis of variance over the position in a period of `values` (n,); None where they are too few.

    From every period a polynomial of degree `TREND_DEGREE` is removed first: the slow course of the stream and what it
    does within a period are no pattern. The degrees of freedom account for that.
    """
    periods = len(values) // period if period > 0 else 0
    if periods < FEWEST_PERIODS or period < FEWEST_POSITIONS:
        return None
    table = values[-periods * period :].reshape(periods, period)
    if not np.isfinite(table).all():
        return None
    residual = _without_trend(table)
    pattern = residual.mean(axis=0)
    between = periods * float(np.sum(pattern**2))
    within = float(np.sum((residual - pattern) ** 2))
    total = between + within
    if total <= 0:
        return None
    d1 = period - TREND_DEGREE - 1
    d2 = (periods - 1) * d1
    f = (between / d1) / (within / d2) if within > 0 else math.inf
    return Fold(f, f_to_z(f, d1, d2), between / total, periods, period)


def _without_trend(table: Floats) -> Floats:
    """Each row less its polynomial fit, and brought to the same size: later periods vary less."""
    x = np.linspace(-1.0, 1.0, table.shape[1])
    basis, _ = np.linalg.qr(np.vander(x, TREND_DEGREE + 1))
    residual: Floats = table - (table @ basis) @ basis.T
    size = np.sqrt(np.mean(residual**2, axis=1, keepdims=True))
    return np.asarray(residual / np.where(size > 0, size, 1.0))


def f_to_z(f: float, d1: float, d2: float) -> float:
    """The standard normal deviate with the upper tail of F(d1, d2) at `f` (Paulson 1942, by Wilson and Hilferty's cube root)."""
    if not f > 0:
        return -math.inf
    if math.isinf(f):
        return math.inf
    a, b, root = 2 / (9 * d1), 2 / (9 * d2), f ** (1 / 3)
    z: float = ((1 - b) * root - (1 - a)) / math.sqrt(b * root * root + a)
    return z
