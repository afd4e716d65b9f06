"""Robust numbers of a sample: quantiles of rows that stand for many, and the noise of a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAD_TO_SD = 1.4826  # standard deviation of a normal sample over its median absolute deviation: 1 / Φ⁻¹(3/4)


def weighted_quantile(values: Floats, counts: NDArray[np.int64], q: float) -> float:
    """The q-quantile of `values` (n,), each repeated `counts` (n,) times; NaN of an empty sample.

    The inverse of the empirical distribution function (Hyndman & Fan 1996, definition 1). Non-finite values are left out.
    """
    keep = np.isfinite(values) & (counts > 0)
    if not keep.any():
        return float("nan")
    order = np.argsort(values[keep], kind="stable")
    ordered, weight = values[keep][order], np.cumsum(counts[keep][order])
    index = int(np.searchsorted(weight, q * weight[-1], side="left"))
    return float(ordered[min(index, len(ordered) - 1)])


def median(values: Floats) -> float:
    """The median of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def spread(values: Floats) -> float:
    """Standard deviation estimated from the median absolute deviation, of the finite values; 0 of fewer than two."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return 0.0
    return float(MAD_TO_SD * np.median(np.abs(finite - np.median(finite))))


def stream_noise(values: Floats) -> float:
    """Standard deviation of the noise of a slowly moving stream (n,), from its successive differences.

    The trend drops out of the differences, white noise of deviation σ leaves √2·σ (von Neumann 1941, made robust by
    the median absolute deviation). 0 of fewer than three finite values.
    """
    finite = values[np.isfinite(values)]
    if len(finite) < 3:
        return 0.0
    return spread(np.diff(finite)) / float(np.sqrt(2))
