"""Least squares with some of the features and no ridge, and what it costs: a closed form that shows double descent.

The model: d standard normal features, of which p are used; y = xᵀβ + noise. The weights are the least squares solution, or
the one of least norm where p > n (Belkin, Hsu & Xu 2020, "Two models of double descent for weak features", theorem 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def expected_risk(n: int, used: int, signal_used: float, signal_left: float, noise: float) -> float:
    """The expected squared test error with `n` examples and `used` features.

    `signal_used` is ‖β‖² of the features used, `signal_left` that of the others, `noise` the variance σ². Features that
    are not used act as noise: with s = signal_left + noise it is s·(1 + p/(n − p − 1)) for p ≤ n − 2, infinite for
    n − 1 ≤ p ≤ n + 1, and signal_used·(1 − n/p) + s·(1 + n/(p − n − 1)) for p ≥ n + 2. Raises ValueError for counts or
    variances below zero.
    """
    if n < 1 or used < 0 or min(signal_used, signal_left, noise) < 0:
        raise ValueError(f"n ≥ 1, used ≥ 0 and variances ≥ 0 are expected, got {(n, used, signal_used, signal_left, noise)}")  # fmt: skip
    left = signal_left + noise
    if used <= n - 2:
        return left * (1 + used / (n - used - 1))
    if used <= n + 1:
        return float("inf")
    return signal_used * (1 - n / used) + left * (1 + n / (used - n - 1))


def least_norm(x: ArrayLike, y: ArrayLike, ridge: float = 0.0) -> Floats:
    """The weights (p,) that minimise ‖x w − y‖² + ridge·‖w‖², those of least norm where there are many.

    `x` has shape (n, p), `y` (n,).
    """
    features, targets = np.asarray(x, np.float64), np.asarray(y, np.float64)
    u, s, vt = np.linalg.svd(features, full_matrices=False)
    cut = s > s[0] * max(features.shape) * np.finfo(np.float64).eps if len(s) else s > 0
    factors = np.divide(s, s**2 + ridge, out=np.zeros_like(s), where=cut)
    found: Floats = vt.T @ (factors * (u.T @ targets))
    return found
