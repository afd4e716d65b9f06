"""How many of the known modes of a mixture a sample reaches, how evenly, and how much of it lies on them.

For samples whose truth is known (rings and grids of Gaussians). Source: Srivastava et al. 2017 (VEEGAN), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vivavoce.measure.features import features, two_samples

WITHIN = 3.0  # deviations about its centre in which a sample belongs to a mode (Srivastava et al. 2017)
LEAST = 20  # samples a mode needs to count as reached: of 2,500 on 25 modes a fifth of its fair share
ROWS = 4_096  # samples whose distances are held at once


@dataclass(frozen=True)
class ModeCoverage:
    """`counts` (modes,) are the samples that belong to each mode; `outside` those that belong to none.

    `least` is the number of samples that a mode needs to be covered.
    """

    counts: NDArray[np.int64]
    outside: int
    least: int = LEAST

    @property
    def covered(self) -> int:
        """Modes with at least `least` samples."""
        return int((self.counts >= self.least).sum())

    @property
    def quality(self) -> float:
        """Share of the samples that belong to some mode."""
        total = int(self.counts.sum()) + self.outside
        return int(self.counts.sum()) / total if total else float("nan")

    @property
    def divergence(self) -> float:
        """Kullback–Leibler divergence of the shares of the modes from equal ones, in nats; ln(modes) where one has all.

        NaN where no sample belongs to a mode.
        """
        return divergence_from(self.counts)


def divergence_from(counts: Any, expected: Any = None) -> float:
    """KL(shares of `counts` (c,) ‖ shares of `expected` (c,), equal ones without), in nats; NaN of no counts.

    Raises ValueError for negative counts, shapes that differ, and a count where none is expected.
    """
    found = np.asarray(counts, dtype=np.float64)
    wanted = np.ones_like(found) if expected is None else np.asarray(expected, dtype=np.float64)
    if found.ndim != 1 or found.shape != wanted.shape or (found < 0).any() or (wanted < 0).any():
        raise ValueError(f"counts of one shape (c,), none below zero, are expected, got {found.shape}, {wanted.shape}")
    if ((found > 0) & (wanted == 0)).any():
        raise ValueError("a class with samples must be expected to have some: the divergence would be infinite")
    if not found.sum():
        return float("nan")
    some = found > 0
    p, q = found[some] / found.sum(), wanted[some] / wanted.sum()
    return max(0.0, float(np.sum(p * np.log(p / q))))


def mode_coverage(
    samples: Any, centres: Any, deviation: float, *, within: float = WITHIN, least: int = LEAST
) -> ModeCoverage:
    """Assign `samples` (n, d) to the nearest of `centres` (modes, d) that lies within `within` deviations.

    Arrays or tensors. A sample of a spherical Gaussian in two dimensions lies within 3 deviations with probability
    1 − exp(−4.5) = 0.989. Raises ValueError for shapes that do not fit, NaN, and a deviation that is not positive.
    """
    points, middles = two_samples(features(samples, "samples"), features(centres, "centres"))
    if deviation <= 0 or within <= 0:
        raise ValueError(f"deviation and within must be positive, got {deviation} and {within}")
    counts = np.zeros(len(middles), np.int64)
    for start in range(0, len(points), ROWS):
        distance = np.linalg.norm(points[start : start + ROWS, None, :] - middles[None], axis=2)
        nearest = distance.argmin(axis=1)
        inside = distance.min(axis=1) <= within * deviation
        counts += np.bincount(nearest[inside], minlength=len(middles))
    return ModeCoverage(counts, len(points) - int(counts.sum()), least)
