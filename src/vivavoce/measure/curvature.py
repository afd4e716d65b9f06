"""The largest eigenvalue of a symmetric operator that is known only through products, by Lanczos' method.

On a quadratic loss gradient descent converges where the learning rate is below 2/λmax and diverges above it, so the
largest eigenvalue of the Hessian is the number that a learning rate has to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCE = 1e-3  # relative; the residual bound is of the same kind, so the result is surely this good
MOST_PRODUCTS = 100
EXHAUSTED = 1e-12  # times the largest coefficient: the Krylov space is complete


@dataclass(frozen=True)
class Extremes:
    """Largest and smallest eigenvalue, and how far from an eigenvalue the largest can be (residual norm)."""

    largest: float
    smallest: float
    residual: float
    products: int

    @property
    def critical_rate(self) -> float:
        """2/λmax; infinite where nothing curves upwards."""
        return 2 / self.largest if self.largest > 0 else float("inf")


def extreme_eigenvalues(
    product: Callable[[Floats], Floats],
    size: int,
    *,
    tolerance: float = TOLERANCE,
    most_products: int = MOST_PRODUCTS,
    seed: int = 0,
) -> Extremes:
    """The extreme eigenvalues of a symmetric operator on vectors of shape (size,).

    Lanczos (1950) with full reorthogonalisation (Golub & Van Loan, section 10.3), from a random start: the largest Ritz
    value is at most λmax, and an eigenvalue lies within `residual` of it. Stops at residual ≤ tolerance · largest |Ritz
    value|. Raises ValueError for a size below one and for products that are not finite.
    """
    if size < 1:
        raise ValueError(f"an operator needs at least one dimension, not {size}")
    start = np.random.default_rng(seed).standard_normal(size)
    basis = [start / np.linalg.norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = np.asarray(product(basis[-1]), dtype=np.float64)
        if not np.isfinite(image).all():
            raise ValueError("a product with the operator is not finite")
        diagonal.append(float(image @ basis[-1]))
        remainder = _orthogonal_to(basis, image)
        length = float(np.linalg.norm(remainder))
        values, vectors = np.linalg.eigh(_tridiagonal(diagonal, beside))
        scale = float(np.max(np.abs(values)))
        residual = length * abs(float(vectors[-1, -1]))
        done = residual <= tolerance * scale or length <= EXHAUSTED * max(scale, 1e-300)
        if done or len(basis) >= min(size, most_products):
            return Extremes(float(values[-1]), float(values[0]), residual, len(basis))
        beside.append(length)
        basis.append(remainder / length)


def _orthogonal_to(basis: list[Floats], vector: Floats) -> Floats:
    """Twice is enough (Kahan; Parlett 1980): the second pass removes what rounding left."""
    stacked = np.asarray(basis)
    for _ in range(2):
        vector = vector - stacked.T @ (stacked @ vector)
    return vector


def _tridiagonal(diagonal: list[float], beside: list[float]) -> Floats:
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
