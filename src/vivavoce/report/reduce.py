"""Fewer rows for a plot or a table, without losing a spike or a NaN."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vivavoce.record.tracks import EMPTY, Floats, Integers, Series


def bucketed(series: Series, first: int, last: int, count: int) -> tuple[Integers, Series]:
    """The series reduced to at most `count` rows, one for each of as many equal ranges of steps in [first, last].

    Returns the numbers of the ranges that hold any row, and a series with one row for each: mean (weighted by counts)
    and extremes over finite values, NaN where none was finite. Shapes: (m,) with m ≤ count.
    """
    if not len(series):
        return np.zeros(0, dtype=np.int64), EMPTY
    numbers = np.clip((series.steps - first) * count // (last - first + 1), 0, count - 1)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    finite = np.isfinite(series.mean)
    weights = np.where(finite, series.counts, 0).astype(np.float64)
    total = np.add.reduceat(weights, starts)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.add.reduceat(np.where(finite, series.mean, 0.0) * weights, starts) / total
    reduced = Series(
        steps=series.steps[np.append(starts[1:], len(series)) - 1],
        counts=np.add.reduceat(series.counts, starts),
        mean=mean,
        minimum=_extreme(np.minimum, series.minimum, starts, np.inf),
        maximum=_extreme(np.maximum, series.maximum, starts, -np.inf),
        nonfinite=np.add.reduceat(series.nonfinite, starts),
    )
    return numbers[starts], reduced


def _extreme(ufunc: np.ufunc, values: Floats, starts: NDArray[np.intp], neutral: float) -> Floats:
    """Extremes of the groups over finite values; NaN for a group without any."""
    reduced = ufunc.reduceat(np.where(np.isfinite(values), values, neutral), starts)
    return np.where(np.isfinite(reduced), reduced, np.nan)


def thinned(series: Series, count: int) -> Series:
    """The series itself where it has at most `count` rows, else reduced to that many."""
    if len(series) <= count:
        return series
    return bucketed(series, int(series.steps[0]), int(series.steps[-1]), count)[1]


def smoothed(series: Series, window: int) -> Series:
    """The mean of each row and the `window` − 1 finite ones before it; rows that are not finite stay gaps."""
    finite = np.isfinite(series.mean)
    weights = np.where(finite, series.counts, 0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sums = _trailing_sum(np.where(finite, series.mean, 0.0) * weights, window)
        mean = np.where(finite, sums / _trailing_sum(weights, window), np.nan)
    return Series(series.steps, series.counts, mean, mean, mean, series.nonfinite)


def _trailing_sum(values: Floats, window: int) -> Floats:
    """Direct sums, not differences of a running total: one huge value must not drown the small ones after it."""
    padded = np.concatenate([np.zeros(window - 1), values])
    sums: Floats = np.lib.stride_tricks.sliding_window_view(padded, window).sum(axis=1)
    return sums
