"""What a predictor that knows nothing of its input can reach: the levels that a loss must fall below."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def uniform_cross_entropy(classes: int) -> float:
    """Cross-entropy, in nats, of equal probabilities for all classes: ln C. Raises ValueError for fewer than one."""
    if classes < 1:
        raise ValueError(f"there must be at least one class, not {classes}")
    return math.log(classes)


def entropy(counts: NDArray[np.float64]) -> float:
    """Entropy, in nats, of the frequencies that `counts` (k,) give: the least cross-entropy of a constant prediction.

    NaN where the counts sum to nothing.
    """
    total = float(np.sum(counts))
    if not math.isfinite(total) or total <= 0:
        return float("nan")
    p = counts[counts > 0] / total
    return float(-np.sum(p * np.log(p)))


def binary_entropy(p: float) -> float:
    """Entropy, in nats, of a yes with probability p; NaN outside [0, 1]."""
    if not 0 <= p <= 1:
        return float("nan")
    return entropy(np.array([p, 1 - p]))
