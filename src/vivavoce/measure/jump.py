"""Jumps: where a function has one, and the proof that no continuous network can follow it.

If f jumps by J at x₀, a continuous g has one value g(x₀), and max(|g(x₀) − f(x₀⁻)|, |g(x₀) − f(x₀⁺)|) ≥ J/2: points
on one side or the other come as near as one likes to an error of J/2. On a grid of points the error may look small,
because the grid steps over the place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.measure.robust import median

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

GRID = 4_001  # points at which a function is first looked at
MOST_CANDIDATES = 64  # steepest intervals that are followed down to neighbouring floats
HALVINGS = 200  # more than enough to reach neighbouring floats from any interval
STEADY = 0.99  # a jump's height is the same at the last halvings; |x|^0.1 still falls by 7 % at each
LAST_HALVINGS = 8
CLEARANCE = 2  # floats that the bracket is widened by on either side: sign(0) lies in the middle of the jump of sign
LEAST_HEIGHT = 1e-6  # of the function's range: below this a jump cannot be told from rounding
ROUNDINGS = 100  # units in the last place of the largest value: steps of this size come from rounding
MOST_PEAKS = 8  # highest points of the grid around which a pole is looked for
ZOOM = 9  # points looked at in each round; the next round looks at a quarter of the interval
GROWN = 10.0  # times the largest value on the grid: a pole grows while it is followed …
STILL_GROWING = 1.1  # … to the very end: |x|^−0.1 grows 2.3 times in the last rounds
LAST_ROUNDS = 6
SUSPECT = 20.0  # times the median |Δy|: a gap in data this much wider is worth naming


@dataclass(frozen=True)
class Break:
    """A place where a function is not continuous: between `left` and `right`, which are a few floats apart.

    `kind` is "jump", or "pole" where the values grow without bound; `before` and `after` are the values at both ends.
    """

    kind: Literal["jump", "pole"]
    left: float
    right: float
    before: float
    after: float

    @property
    def height(self) -> float:
        """The size of the jump."""
        return abs(self.after - self.before)


@dataclass(frozen=True)
class Certificate:
    """A lower bound on the largest error of one continuous g near a jump: `bound` is at least half of `height`."""

    at: float
    value: float  # g there
    height: float
    bound: float

    @property
    def least(self) -> float:
        """What no continuous function can get below: J/2."""
        return self.height / 2


def certify(approximation: Function, jump: Break) -> Certificate:
    """What g must miss at a jump, from one evaluation: max(|g(x₀) − f(x₀⁻)|, |g(x₀) − f(x₀⁺)|)."""
    value = float(approximation(np.array([jump.left]))[0])
    return Certificate(jump.left, value, jump.height, max(abs(value - jump.before), abs(value - jump.after)))


def find_breaks(function: Function, low: float, high: float, *, grid: int = GRID) -> list[Break]:
    """The jumps and poles of `function` on [low, high], in order.

    The steepest intervals of a grid are halved down to neighbouring floats, always keeping the half that changes more:
    a change that stays is a jump, one that grows is a pole, one that fades was only steep. A break narrower than the
    grid that ends where it began (a spike) is not seen.
    """
    x = np.linspace(low, high, grid)
    y = np.asarray(function(x), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(y))
    if len(bad):
        return _poles_at(x, y, bad)
    size = float(np.ptp(y))
    if size == 0:
        return []
    poles = _poles_between(function, x, y)
    if poles:
        return poles
    change = np.abs(np.diff(y))
    steepest = np.sort(np.argsort(change)[::-1][:MOST_CANDIDATES])
    least = max(LEAST_HEIGHT * size, ROUNDINGS * _ulp(float(np.max(np.abs(y)))))
    found = [_follow(function, (float(x[i]), float(x[i + 1])), least, (low, high)) for i in steepest]
    return _merged([item for item in found if item is not None])


def _poles_at(x: Floats, y: Floats, bad: NDArray[np.intp]) -> list[Break]:
    starts = bad[np.flatnonzero(np.diff(bad, prepend=-2) > 1)]
    return [Break("pole", float(x[i]), float(x[i]), float(y[i]), float(y[i])) for i in starts]


def _poles_between(function: Function, x: Floats, y: Floats) -> list[Break]:
    """Poles that the grid has missed, found by climbing from its highest points."""
    size = np.abs(y)
    inner = np.pad(size, 1, constant_values=0)
    peaks = np.flatnonzero((size >= inner[:-2]) & (size >= inner[2:]))
    highest = peaks[np.argsort(size[peaks])[::-1][:MOST_PEAKS]]
    found: list[Break] = []
    for i in sorted(highest.tolist()):
        place = _climb(function, float(x[max(i - 1, 0)]), float(x[min(i + 1, len(x) - 1)]), float(size.max()))
        if place is not None and not any(abs(place.left - other.left) <= x[1] - x[0] for other in found):
            found.append(place)
    return found


def _climb(function: Function, left: float, right: float, size: float) -> Break | None:
    tops: list[float] = []
    at = left
    while right - left > ZOOM * _ulp(max(abs(left), abs(right))) and len(tops) < HALVINGS:
        x = np.linspace(left, right, ZOOM)
        values = np.abs(function(x))
        if not np.isfinite(values).all():
            at = float(x[np.flatnonzero(~np.isfinite(values))[0]])
            return Break("pole", at, at, np.inf, np.inf)
        i = int(np.argmax(values))
        at = float(x[i])
        tops.append(float(values[i]))
        left, right = float(x[max(i - 1, 0)]), float(x[min(i + 1, ZOOM - 1)])
    if len(tops) > LAST_ROUNDS and tops[-1] > GROWN * size and tops[-1] > STILL_GROWING * tops[-1 - LAST_ROUNDS]:
        return Break("pole", left, right, *(float(v) for v in function(np.array([left, right]))))
    return None


def _merged(breaks: list[Break]) -> list[Break]:
    """Breaks whose brackets overlap are one: a value in the middle of a jump, such as sign(0), makes two of it."""
    merged: list[Break] = []
    for item in sorted(breaks, key=lambda b: b.left):
        last = merged[-1] if merged else None
        if last is None or item.left > last.right:
            merged.append(item)
        else:
            kind: Literal["jump", "pole"] = "pole" if "pole" in (last.kind, item.kind) else "jump"
            merged[-1] = Break(kind, last.left, item.right, last.before, item.after)
    return merged


def _follow(function: Function, ends: tuple[float, float], least: float, domain: tuple[float, float]) -> Break | None:
    left, right = ends
    before, after = (float(v) for v in function(np.array([left, right])))
    heights = [abs(after - before)]
    for _ in range(HALVINGS):
        middle = left + (right - left) / 2
        if not left < middle < right:
            break
        value = float(function(np.array([middle]))[0])
        if not np.isfinite(value):
            return Break("pole", middle, middle, value, value)
        if abs(value - before) >= abs(after - value):
            right, after = middle, value
        else:
            left, before = middle, value
        heights.append(abs(after - before))
    left, right = max(domain[0], left - CLEARANCE * _ulp(left)), min(domain[1], right + CLEARANCE * _ulp(right))
    before, after = (float(v) for v in function(np.array([left, right])))
    height = abs(after - before)
    lasting = height >= STEADY * heights[-1 - min(LAST_HALVINGS, len(heights) - 1)]
    return Break("jump", left, right, before, after) if lasting and height > least else None


@dataclass(frozen=True)
class Gap:
    """The widest step between neighbouring points of data, and what a continuous curve through them would have to do.

    From finite data no jump can be proved: a curve of slope `slope` between `left` and `right` explains it as well.
    `typical` is the median |Δy| of the other steps; `least_error` what a curve no steeper than the steepest other step
    must miss by.
    """

    left: float
    right: float
    height: float
    slope: float
    typical: float
    least_error: float

    @property
    def suspicious(self) -> bool:
        """Whether the step is out of all proportion to the others."""
        return self.height > SUSPECT * self.typical and self.least_error > 0


def widest_gap(x: ArrayLike, y: ArrayLike) -> Gap:
    """The widest step in data x (n,), strictly ascending, and y (n,). Raises ValueError for fewer than three points."""
    at, value = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(at) < 3 or len(at) != len(value):
        raise ValueError(f"at least three points are needed, with as many x as y; got {at.shape} and {value.shape}")
    change, width = np.diff(value), np.diff(at)
    i = int(np.argmax(np.abs(change)))
    others = np.delete(np.abs(change), i)
    steepest = float(np.max(np.delete(np.abs(change) / width, i)))
    height = abs(float(change[i]))
    least = max(0.0, (height - steepest * float(width[i])) / 2)
    return Gap(float(at[i]), float(at[i + 1]), height, height / float(width[i]), median(others), least)


def _ulp(value: float) -> float:
    return float(np.spacing(abs(value)))
