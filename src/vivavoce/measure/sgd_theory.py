"""What stochastic gradient descent does on least squares, in closed form: the expected error after k steps, the floor
that a constant learning rate leaves, and the learning rate at which it diverges.

With δ = w − w*, examples x with residuals r at the optimum, H = E[xxᵀ], and batches of B drawn without replacement from
n, independently at every step, δ′ = δ − η(Ĥδ − ξ̂), where Ĥ and ξ̂ are batch means of xxᵀ and x r. Mean m and second
moment C of δ then obey exactly

    m′ = (I − ηH) m
    C′ = (I − ηH) C (I − ηH) + η²κ (E[xxᵀCxxᵀ] − HCH) − η²κ (T + Tᵀ) + η²κ E[r² xxᵀ],   T = E[x (xᵀm) r xᵀ],

with κ = (n − B) / (B (n − 1)) the variance of a batch mean over that of one example. The excess of the loss
½E(xᵀw − y)² over its minimum is ½ tr(HC). (The recursion is Bach & Moulines' 2013, here with the exact fourth moments.)
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MOST_DIMENSIONS = 30  # the recursion's matrix has d² rows and columns
CLOSE = 1e-6  # relative: bisection of the critical rate


class LeastSquares:
    """The loss ½ mean (Xw − y)² of given examples: X (n, d), y (n,)."""

    def __init__(self, inputs: ArrayLike, targets: ArrayLike) -> None:
        """Take the examples. Raises ValueError for shapes that do not fit and for values that are not finite."""
        self.x = np.asarray(inputs, dtype=np.float64)
        self.y = np.asarray(targets, dtype=np.float64)
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1] or len(self.y) < 2:
            raise ValueError(
                f"need inputs (n, d) and targets (n,) with n of at least 2, not {self.x.shape} and {self.y.shape}"
            )
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise ValueError("inputs and targets must be finite")

    @property
    def n(self) -> int:
        """Examples."""
        return len(self.y)

    @property
    def d(self) -> int:
        """Weights."""
        return int(self.x.shape[1])

    @cached_property
    def solution(self) -> Floats:
        """w* (d,), the least-squares solution (of least norm)."""
        return np.asarray(np.linalg.lstsq(self.x, self.y, rcond=None)[0])

    @cached_property
    def hessian(self) -> Floats:
        """H = XᵀX/n, shape (d, d)."""
        return np.asarray(self.x.T @ self.x / self.n)

    @cached_property
    def residuals(self) -> Floats:
        """y − Xw*, shape (n,)."""
        return np.asarray(self.y - self.x @ self.solution)

    @cached_property
    def batch_critical_rate(self) -> float:
        """2/λmax: full-batch descent converges below it and diverges above."""
        return float(2 / np.linalg.eigvalsh(self.hessian)[-1])

    def excess(self, weights: Floats) -> Floats:
        """Loss over the minimum, ½ δᵀHδ, of weights (…, d)."""
        delta = weights - self.solution
        return np.asarray(0.5 * np.sum((delta @ self.hessian) * delta, axis=-1))

    def kappa(self, batch: int) -> float:
        """Variance of the mean of a batch drawn without replacement over that of one example."""
        if not 1 <= batch <= self.n:
            raise ValueError(f"a batch must hold between 1 and {self.n} examples, not {batch}")
        return (self.n - batch) / (batch * (self.n - 1))

    @cached_property
    def _fourth(self) -> Floats:
        """Matrix (d², d²) of C ↦ E[xxᵀCxxᵀ] on row-major vectors."""
        if self.d > MOST_DIMENSIONS:
            raise ValueError(f"the closed form is computed for at most {MOST_DIMENSIONS} weights, not {self.d}")
        squares = np.einsum("ni,nj->nij", self.x, self.x).reshape(self.n, -1)
        return np.asarray(squares.T @ squares / self.n)

    @cached_property
    def _gradient_noise(self) -> Floats:
        """E[r² xxᵀ] (d, d): covariance of one example's gradient at the optimum."""
        scaled = self.x * self.residuals[:, None]
        return np.asarray(scaled.T @ scaled / self.n)

    def _operator(self, rate: float, batch: int) -> Floats:
        """Matrix (d², d²) of C ↦ C′ without noise."""
        shrink = np.eye(self.d) - rate * self.hessian
        noise = self._fourth - np.kron(self.hessian, self.hessian)
        return np.asarray(np.kron(shrink, shrink) + rate**2 * self.kappa(batch) * noise)

    def spectral_radius(self, rate: float, batch: int) -> float:
        """Factor by which the expected squared error is multiplied at each step in the end; above 1 it diverges."""
        return float(np.max(np.abs(np.linalg.eigvals(self._operator(rate, batch)))))

    def critical_rate(self, batch: int) -> float:
        """The learning rate above which the expected squared error diverges; 2/λmax for the full batch, less for others."""
        low, high = 0.0, self.batch_critical_rate * (1 + CLOSE)
        while high - low > CLOSE * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.spectral_radius(middle, batch) < 1 else (low, middle)
        return (low + high) / 2

    def floor(self, rate: float, batch: int) -> float:
        """Expected excess loss in the long run at a constant learning rate; infinite where it diverges."""
        operator = self._operator(rate, batch)
        if np.max(np.abs(np.linalg.eigvals(operator))) >= 1:
            return float("inf")
        noise = rate**2 * self.kappa(batch) * self._gradient_noise
        second = np.linalg.solve(np.eye(self.d**2) - operator, noise.reshape(-1))
        return float(0.5 * self.hessian.reshape(-1) @ second)

    def expected_course(self, start: ArrayLike, rate: float, batch: int, steps: int) -> Floats:
        """Expected excess loss before each of `steps` steps and after the last, shape (steps + 1,), from weights (d,)."""
        mean = np.asarray(start, dtype=np.float64) - self.solution
        second = np.outer(mean, mean).reshape(-1)
        operator, kappa = self._operator(rate, batch), self.kappa(batch)
        noise = rate**2 * kappa * self._gradient_noise.reshape(-1)
        flat_hessian, shrink = self.hessian.reshape(-1), np.eye(self.d) - rate * self.hessian
        third = np.einsum("ni,nj,nk,n->ijk", self.x, self.x, self.x, self.residuals, optimize=True) / self.n
        course = np.empty(steps + 1)
        for step in range(steps + 1):
            course[step] = 0.5 * flat_hessian @ second
            cross = third @ mean
            second = operator @ second + noise - rate**2 * kappa * (cross + cross.T).reshape(-1)
            mean = shrink @ mean
        return course
