"""How fast a gradient grows on its way back through a recurrence, from the recurrence alone.

For h_t = φ(W h_{t−1} + …) the gradient goes back by ∂L/∂h_{t−1} = Wᵀ diag(φ′_t) ∂L/∂h_t. The rate at which its norm
grows per step is known before the first update; in the long run its logarithm is the largest Lyapunov exponent of the
recurrence (Engelken et al. 2023; Vogt et al. 2022), whatever vector one starts from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FEWEST = 3  # positions that a line is laid through
OVERFLOW = float(np.log(np.finfo(np.float32).max))  # 88.7: log of the largest float32


@dataclass(frozen=True)
class Growth:
    """`rate`: factor per step backwards in time; `steps` that the line spans; `r_squared` of log norm against time."""

    rate: float
    steps: int
    r_squared: float

    @property
    def factor(self) -> float:
        """What the whole way back multiplies the gradient by; infinite beyond float64."""
        with np.errstate(over="ignore"):
            return float(np.exp(np.log(self.rate) * self.steps)) if self.rate > 0 else 0.0

    def steps_to_overflow(self, norm: float = 1.0) -> float:
        """How many steps back a gradient of this norm leaves float32's range; infinite where it does not grow."""
        return (OVERFLOW - float(np.log(norm))) / float(np.log(self.rate)) if self.rate > 1 else float("inf")


def growth_of_norms(log_norms: ArrayLike, positions: ArrayLike | None = None) -> Growth:
    """Least-squares line through log norms (n,) at time `positions` (n,), 0 … n − 1 where not given.

    Points that are not finite (a gradient of zero, an overflow) are left out. Raises ValueError for fewer than three.
    """
    logs = np.asarray(log_norms, dtype=np.float64)
    at = np.arange(len(logs), dtype=np.float64) if positions is None else np.asarray(positions, dtype=np.float64)
    keep = np.isfinite(logs) & np.isfinite(at)
    logs, at = logs[keep], at[keep]
    if len(logs) < FEWEST:
        raise ValueError(f"at least {FEWEST} finite norms are needed, not {len(logs)}")
    x, y = at - at.mean(), logs - logs.mean()
    slope = float(x @ y) / float(x @ x)
    total = float(y @ y)
    flat = total <= len(y) * (np.finfo(np.float64).eps * max(1.0, float(np.max(np.abs(logs))))) ** 2
    fit = 1.0 if flat else slope * float(x @ y) / total
    return Growth(float(np.exp(-slope)), int(at.max() - at.min()), fit)


def backward_log_norms(weight: ArrayLike, slopes: ArrayLike, last: ArrayLike) -> Floats:
    """log ‖∂L/∂h_t‖ for t = 0 … T, shape (T + 1,), from the gradient `last` at the last state.

    `weight` (h, h) multiplies the state; `slopes` (T, batch, h) are the activation's derivatives at steps 1 … T; `last`
    (batch, h). Norms are over batch and units together, as autograd's ∂L/∂h_t has them. The vector is rescaled at every
    step, so nothing overflows; −inf from where the gradient is zero.
    """
    matrix = np.asarray(weight, dtype=np.float64)
    steps = np.asarray(slopes, dtype=np.float64)
    vector = np.asarray(last, dtype=np.float64)
    if steps.ndim != 3 or steps.shape[1:] != vector.shape or matrix.shape != (steps.shape[2],) * 2:
        raise ValueError(f"weight {matrix.shape}, slopes {steps.shape} and last {vector.shape} do not fit")
    logs = np.full(len(steps) + 1, -np.inf)
    total = 0.0
    for t in range(len(steps), -1, -1):
        norm = float(np.linalg.norm(vector))
        if norm == 0 or not np.isfinite(norm):
            break
        total += float(np.log(norm))
        logs[t] = total
        vector = vector / norm
        if t:
            vector = (vector * steps[t - 1]) @ matrix
    return logs


def largest_exponent(weight: ArrayLike, slopes: ArrayLike, *, seed: int = 0, burn_in: float = 0.2) -> float:
    """The largest Lyapunov exponent, in nats a step, of the recurrence with `weight` (h, h) and `slopes` (T, batch, h).

    A random vector per batch row is pushed through the Jacobians diag(φ′_t) W and rescaled (Benettin et al. 1980); the
    first `burn_in` of the steps, in which it turns into the fastest direction, do not count. −inf where all vanish.
    """
    matrix, steps = np.asarray(weight, dtype=np.float64), np.asarray(slopes, dtype=np.float64)
    vectors = np.random.default_rng(seed).standard_normal(steps.shape[1:])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    skip = int(burn_in * len(steps))
    total = 0.0
    for t, slope in enumerate(steps):
        vectors = (vectors @ matrix.T) * slope
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not norms.all():
            return float("-inf")
        vectors /= norms
        total += float(np.mean(np.log(norms))) if t >= skip else 0.0
    return total / (len(steps) - skip)
