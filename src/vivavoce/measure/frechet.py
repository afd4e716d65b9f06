"""Distances between two samples of features: Fréchet (of Gaussians fitted to them) and kernel (maximum mean discrepancy).

Which features are given decides what the distances mean: those of a classifier tell classes apart, raw pixels hardly
anything. Numbers compare only under the same features and, for Fréchet, the same sample sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.measure.features import Floats, two_samples

FEWEST = 2  # rows from which a covariance can be estimated
DEGREE, OFFSET = 3, 1.0  # of the polynomial kernel (x·y / d + 1)³ (Bińkowski et al. 2018)


def frechet_distance(real: Any, made: Any) -> float:
    """Squared Fréchet distance between Gaussians with the means and covariances of two samples (n, d) and (m, d).

    ‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2 (C₁C₂)^½), covariances with n − 1 (Heusel et al. 2017, eq. 6: the "FID" where the
    features are Inception's). Biased upwards by about 1/n: state the sample sizes, and the distance of real from real
    beside it. Raises ValueError for fewer than two rows, widths that differ, and values that are not finite.
    """
    first, second = two_samples(real, made, FEWEST)
    return frechet_of_gaussians(first.mean(0), _covariance(first), second.mean(0), _covariance(second))


def frechet_of_gaussians(mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians, means (d,) and covariances (d, d) (Dowson & Landau 1982).

    The trace of (C₁C₂)^½ is taken from the eigenvalues of C₁^½ C₂ C₁^½, which is symmetric: no complex residue, and
    singular covariances are no trouble. Raises ValueError for shapes that do not fit.
    """
    m1, m2 = np.asarray(mean_a, dtype=np.float64), np.asarray(mean_b, dtype=np.float64)
    c1, c2 = np.asarray(cov_a, dtype=np.float64), np.asarray(cov_b, dtype=np.float64)
    if m1.ndim != 1 or m2.shape != m1.shape or c1.shape != (len(m1),) * 2 or c2.shape != c1.shape:
        raise ValueError(
            f"means (d,) and covariances (d, d) are expected, got {m1.shape, c1.shape, m2.shape, c2.shape}"
        )
    root = _root(c1)
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh(root @ c2 @ root), 0, None)).sum()
    distance = float((m1 - m2) @ (m1 - m2) + np.trace(c1) + np.trace(c2) - 2 * overlap)
    return max(0.0, distance)


def kernel_distance(real: Any, made: Any, *, degree: int = DEGREE, offset: float = OFFSET) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of two samples (n, d), (m, d) under (x·y / d + offset)^degree.

    The "KID" of Bińkowski et al. 2018 where the features are Inception's. Its expectation is 0 for two samples of one
    distribution, so a single value may fall below it. Raises ValueError as `frechet_distance` does.
    """
    first, second = two_samples(real, made, FEWEST)
    n, m = len(first), len(second)
    k_11, k_22, k_12 = (_kernel(a, b, degree, offset) for a, b in ((first, first), (second, second), (first, second)))
    within = (k_11.sum() - np.trace(k_11)) / (n * (n - 1)) + (k_22.sum() - np.trace(k_22)) / (m * (m - 1))
    return float(within - 2 * k_12.mean())


def _kernel(a: Floats, b: Floats, degree: int, offset: float) -> Floats:
    kernel: Floats = (a @ b.T / a.shape[1] + offset) ** degree
    return kernel


def _covariance(rows: Floats) -> Floats:
    return np.atleast_2d(np.cov(rows, rowvar=False))


def _root(matrix: Floats) -> Floats:
    """The square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
