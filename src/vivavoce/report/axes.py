"""Axes: from values to positions in [0, 1], and round numbers to label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vivavoce.record.tracks import Floats

_ROUND = (1.0, 2.0, 5.0, 10.0)
_MARGIN = 0.04  # of the axis, left free above and below the data
_LARGEST = 1e300  # values beyond, or below its inverse on a logarithmic axis, are drawn at the edge
_LARGEST_POWER = 305  # of ten: a margin beyond it would overflow


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high`, with the values to label."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def position(self, values: Floats) -> Floats:
        """Where values lie, 0 at `low` and 1 at `high`; NaN for what the axis cannot show. Same shape."""
        clipped = np.clip(values, -_LARGEST, _LARGEST)
        if not self.log:
            return (clipped - self.low) / (self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(clipped > 0, np.log10(np.maximum(clipped, 1 / _LARGEST)), np.nan)
        return (logs - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))

    def at(self, value: float) -> float:
        """Where one value lies."""
        return float(self.position(np.array([value]))[0])


def step_axis(first: int, last: int, count: int = 6) -> Axis:
    """An axis of steps, labelled at round whole numbers, without a margin."""
    last = max(last, first + 1)
    gap = max(1, math.ceil(_round_gap((last - first) / count)))
    ticks = np.arange(math.ceil(first / gap) * gap, last + 1, gap)
    return Axis(float(first), float(last), False, tuple(float(tick) for tick in ticks))


def value_axis(low: float, high: float, log: bool, count: int = 5) -> Axis:
    """An axis that holds [low, high] with a margin; `low` must be positive for a logarithmic one."""
    return _log_axis(low, high, count) if log else _linear_axis(low, high, count)


def _linear_axis(low: float, high: float, count: int) -> Axis:
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    if not high > low:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    margin = _MARGIN * (high - low)
    bottom = 0.0 if 0 <= low <= margin else low - margin
    top = high + margin
    gap = _round_gap((top - bottom) / count)
    ticks = [index * gap for index in range(math.ceil(bottom / gap), math.floor(top / gap) + 1)]
    return Axis(bottom, top, False, tuple(ticks))


def _log_axis(low: float, high: float, count: int) -> Axis:
    bottom, top = (math.log10(min(max(value, 1 / _LARGEST), _LARGEST)) for value in (low, high))
    if top - bottom < 1.0:  # at least a decade, so that at least one power of ten is labelled
        middle = (top + bottom) / 2
        bottom, top = middle - 0.5, middle + 0.5
    margin = _MARGIN * (top - bottom)
    bottom, top = max(bottom - margin, -_LARGEST_POWER), min(top + margin, _LARGEST_POWER)
    gap = max(1, math.ceil((math.floor(top) - math.ceil(bottom)) / count))
    powers = range(math.ceil(bottom / gap) * gap, math.floor(top) + 1, gap)
    ticks = [10.0**power for power in powers]
    if len(ticks) < 3:
        ticks = sorted({m * 10.0**p for p in range(math.floor(bottom), math.ceil(top) + 1) for m in (1, 2, 5)})
        ticks = [tick for tick in ticks if bottom <= math.log10(tick) <= top]
    return Axis(10.0**bottom, 10.0**top, True, tuple(ticks))


def _round_gap(gap: float) -> float:
    """The smallest of 1, 2, 5 × 10ⁿ that is not less."""
    power = 10.0 ** math.floor(math.log10(gap))
    return next(factor * power for factor in _ROUND if factor * power >= gap * (1 - 1e-9))
