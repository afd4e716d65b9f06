"""The fewest straight pieces that stay within ε of a curve, and so the smallest ReLU network of one input.

A continuous piecewise linear function with k pieces is a one-hidden-layer ReLU network with k − 1 units and an affine
skip, and no network with fewer units has k pieces; so the smallest width that reaches an error ε is the number of
links, less one, of the path with the fewest links through the tube of height 2ε around the curve (the minimum-link
path of Imai & Iri 1986, "An optimal algorithm for approximating a piecewise linear function"). Because the tube is
monotone in x, the path is found greedily: each link is the line that reaches furthest, and the next may begin
anywhere on the part of it that lies beyond its last touching point.

Coordinates may be floats or `fractions.Fraction`; with the latter every decision is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Point = tuple[Any, Any]

OVERSAMPLING = 4  # points a sample interval on which the distance from the curve to its polygon is measured
BEND_MARGIN = 1.5  # the measured distance is taken this much larger: between the points it may be a little more
ROUNDING = 1e-12  # of the largest value: what float64 arithmetic may add
MOST_SAMPLES = 1 << 20  # points of the polygon that stands for a curve
FIRST_SAMPLES = 4_097  # points to begin with


@dataclass(frozen=True)
class Line:
    """y = y₀ + slope·(x − x₀)."""

    x0: Any
    y0: Any
    slope: Any

    def at(self, x: Any) -> Any:
        """The height at x."""
        return self.y0 + self.slope * (x - self.x0)


@dataclass(frozen=True)
class Path:
    """A continuous piecewise linear function by its corners, ends included: `x` (k + 1,) ascending and `y` (k + 1,)."""

    x: tuple[Any, ...]
    y: tuple[Any, ...]

    @property
    def pieces(self) -> int:
        """How many straight pieces it has."""
        return len(self.x) - 1

    @property
    def units(self) -> int:
        """How many ReLU units, beside an affine skip, represent it: one for every inner corner."""
        return self.pieces - 1

    def __call__(self, x: ArrayLike) -> Floats:
        """The height at x, of any shape; beyond the ends the last piece goes on."""
        corners, heights = np.asarray(self.x, dtype=np.float64), np.asarray(self.y, dtype=np.float64)
        slopes = np.diff(heights) / np.diff(corners)
        at = np.asarray(x, dtype=np.float64)
        piece = np.clip(np.searchsorted(corners, at, side="right") - 1, 0, len(slopes) - 1)
        return np.asarray(heights[piece] + slopes[piece] * (at - corners[piece]))


class _Hull:
    """Convex hull of points that arrive from left to right, for tangents from points further right.

    `side` +1 keeps the upper hull, −1 the lower. Every point is added and removed at most once.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._points: list[Point] = []
        self._first = 0

    def __bool__(self) -> bool:
        return self._first < len(self._points)

    def add(self, point: Point) -> None:
        """Add a point to the right of all others."""
        points = self._points
        while len(points) - self._first >= 2 and self._side * _turn(points[-2], points[-1], point) >= 0:
            points.pop()
        points.append(point)

    def tangent(self, point: Point) -> Point:
        """The point of the hull that the line from `point`, on the other side of the hull, touches.

        Points before it are dropped: tangents of later points that tighten the same line touch further right.
        """
        points = self._points
        while (
            len(points) - self._first >= 2
            and self._side * _turn(points[self._first], points[self._first + 1], point) <= 0
        ):
            self._first += 1
        return points[self._first]


def _turn(a: Point, b: Point, c: Point) -> Any:
    """Positive where c lies to the left of the line from a to b."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@dataclass(frozen=True)
class _Window:
    """The end of a link: the line, its last touching point, where it leaves the tube, and on which side."""

    line: Line
    touch: Point
    exit: Point
    up: bool  # the tube turned up: the line leaves it through the lower bound, having touched the upper
    touched: int  # the next vertex of the touched bound to look at
    left: int  # the next vertex of the bound it left through


class _Stage:
    """All lines that keep under the upper and over the lower points seen so far, by their two extremes."""

    def __init__(self) -> None:
        self.lower, self.upper = _Hull(+1), _Hull(-1)
        self.steepest: tuple[Point, Point] | None = None  # touches a lower point, then an upper one
        self.flattest: tuple[Point, Point] | None = None  # touches an upper point, then a lower one
        self._newest: list[tuple[bool, Point]] = []  # of one x: they do not constrain the lines through each other

    def fits(self, is_upper: bool, point: Point) -> bool:
        """Keep under an upper or over a lower point, further right than those before; False where no line does."""
        if self._newest and self._newest[0][1][0] < point[0]:
            for upper, old in self._newest:
                (self.upper if upper else self.lower).add(old)
            self._newest.clear()
        self._newest.append((is_upper, point))
        return self._fits_under(point) if is_upper else self._fits_over(point)

    def _fits_under(self, point: Point) -> bool:
        if self.flattest is not None and _height(self.flattest, point[0]) > point[1]:
            return False
        if self.lower and (self.steepest is None or _height(self.steepest, point[0]) > point[1]):
            self.steepest = (self.lower.tangent(point), point)
        return True

    def _fits_over(self, point: Point) -> bool:
        if self.steepest is not None and _height(self.steepest, point[0]) < point[1]:
            return False
        if self.upper and (self.flattest is None or _height(self.flattest, point[0]) < point[1]):
            self.flattest = (self.upper.tangent(point), point)
        return True

    def any_line(self, start: Point | None) -> Line:
        """A line between the extremes."""
        if self.steepest is None or self.flattest is None:
            only = self.steepest or self.flattest
            return _line(*only) if only else Line(start[0], start[1], 0) if start else Line(0, 0, 0)
        steep, flat = _line(*self.steepest), _line(*self.flattest)
        slope = (steep.slope + flat.slope) / 2
        if steep.slope == flat.slope:
            return steep
        x = (flat.at(0) - steep.at(0)) / (steep.slope - flat.slope)
        return Line(x, steep.at(x), slope)


def _line(a: Point, b: Point) -> Line:
    return Line(a[0], a[1], (b[1] - a[1]) / (b[0] - a[0]))


def _height(pair: tuple[Point, Point], x: Any) -> Any:
    (ax, ay), (bx, by) = pair
    return ay + (by - ay) * (x - ax) / (bx - ax)


def fewest_links(x: Sequence[Any], lower: Sequence[Any], upper: Sequence[Any]) -> Path:
    """The continuous path with the fewest straight links between two polygonal bounds.

    `x` (n,) strictly ascending; `lower` ≤ `upper`, both (n,), are joined by straight lines between the x. Time O(n).
    Raises ValueError for fewer than two points, for x that do not ascend, and where `lower` exceeds `upper`.
    """
    _check(x, lower, upper)
    lines: list[Line] = []
    window: _Window | None = None
    while True:
        stage = _Stage()
        following = _run_stage(stage, window, x, lower, upper)
        if following is None:
            middle = (x[-1], (lower[-1] + upper[-1]) / 2)
            lines.append(stage.any_line(middle))
            return _path(lines, x[0], x[-1])
        lines.append(following.line)
        window = following


def _check(x: Sequence[Any], lower: Sequence[Any], upper: Sequence[Any]) -> None:
    if not len(x) == len(lower) == len(upper):
        raise ValueError(f"x, lower and upper have {len(x)}, {len(lower)} and {len(upper)} values")
    if len(x) < 2:
        raise ValueError(f"at least two points are needed, not {len(x)}")
    if not all(a < b for a, b in pairwise(x)):
        raise ValueError("x must ascend strictly and be finite")
    if not all(a <= b for a, b in zip(lower, upper, strict=True)):
        raise ValueError("the lower bound exceeds the upper one, or is not a number")


def _run_stage(
    stage: _Stage, window: _Window | None, x: Sequence[Any], lower: Sequence[Any], upper: Sequence[Any]
) -> _Window | None:
    """Follow the tube as far as one line goes; None where it reaches the end."""
    for is_upper, point, index in _constraints(window, x, lower, upper):
        if not stage.fits(is_upper, point):
            if is_upper:
                return _window(stage.flattest, index, False, x, upper, lower)
            return _window(stage.steepest, index, True, x, lower, upper)
    return None


def _constraints(
    window: _Window | None, x: Sequence[Any], lower: Sequence[Any], upper: Sequence[Any]
) -> Iterator[tuple[bool, Point, int]]:
    """The points to keep under or over, from left to right: (is upper, point, its index).

    After a window the bound that its line touched counts from the touching point on, the other from its exit on.
    """
    if window is None:
        yield from _both(0, x, lower, upper)
        return
    touched = upper if window.up else lower
    yield window.up, window.touch, window.touched - 1
    for index in range(window.touched, window.left):
        yield window.up, (x[index], touched[index]), index
    yield not window.up, window.exit, window.left - 1
    yield from _both(window.left, x, lower, upper)


def _both(
    start: int, x: Sequence[Any], lower: Sequence[Any], upper: Sequence[Any]
) -> Iterator[tuple[bool, Point, int]]:
    for index in range(start, len(x)):
        yield True, (x[index], upper[index]), index
        yield False, (x[index], lower[index]), index


def _window(
    extreme: tuple[Point, Point] | None,
    failed: int,
    up: bool,
    x: Sequence[Any],
    left_through: Sequence[Any],
    touched: Sequence[Any],
) -> _Window:
    """The window of an extreme line that crosses a bound before vertex `failed`."""
    assert extreme is not None  # only a line can fail
    line, touch = _line(*extreme), extreme[1]
    before, after = failed - 1, failed
    gap_before = _height(extreme, x[before]) - left_through[before]
    gap_after = _height(extreme, x[after]) - left_through[after]
    span = gap_before - gap_after
    share = gap_before / span if span else 0
    share = min(max(share, 0), 1)
    exit_x = max(x[before] + share * (x[after] - x[before]), touch[0])
    exit = (exit_x, _height(extreme, exit_x))
    first = _next_index(x, touch[0], failed)
    return _Window(line, touch, exit, up, first, failed)


def _next_index(x: Sequence[Any], value: Any, high: int) -> int:
    """The first index with x[index] > value, at most `high`."""
    low = 0
    while low < high:
        middle = (low + high) // 2
        if x[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


def _path(lines: list[Line], start: Any, end: Any) -> Path:
    corners = [start]
    for a, b in pairwise(lines):
        turn = (b.at(a.x0) - a.y0) / (a.slope - b.slope) if a.slope != b.slope else 0
        corners.append(min(max(a.x0 + turn, corners[-1]), end))
    corners.append(end)
    heights = [lines[0].at(start), *(line.at(x) for line, x in zip(lines, corners[1:], strict=True))]
    return Path(tuple(corners), tuple(heights))


@dataclass(frozen=True)
class SmallestWidth:
    """The smallest one-hidden-layer ReLU network, with an affine skip, within `error` of a curve.

    `path` has `units` and keeps within `error`; no network with fewer than `at_least` does. The two are equal except
    where the answer lies nearer to the boundary than the arithmetic can tell.
    """

    error: float
    path: Path
    at_least: int

    @property
    def units(self) -> int:
        """Units of the network found."""
        return self.path.units

    @property
    def exact(self) -> bool:
        """Whether the network found is proved to be the smallest."""
        return self.units == self.at_least


def smallest_relu_width(
    function: Callable[[Floats], Floats], low: float, high: float, error: float, *, most_samples: int = MOST_SAMPLES
) -> SmallestWidth:
    """The smallest ReLU network of one input within `error` of a continuous `function` on [low, high], in the maximum norm.

    The curve is replaced by a polygon at a distance of at most δ from it. The fewest links within ε − δ of the polygon
    keep within ε of the curve, and every network within ε of the curve is one within ε + δ of the polygon: so the first
    number bounds the answer from above, the second from below. Points are added until both agree (or there are
    `most_samples`). δ is measured on a grid four times finer and taken half as large again. Raises ValueError where the
    function is not finite on the interval, or where no polygon gets near enough: see `jump.find_breaks`.
    """
    if not low < high or not error > 0:
        raise ValueError(f"need low < high and error > 0, not {low}, {high}, {error}")
    samples, best = FIRST_SAMPLES, None
    while samples <= most_samples:
        x = np.linspace(low, high, samples)
        y = np.asarray(function(x), dtype=np.float64)
        distance = _distance_to_polygon(function, x, y)
        if distance < error / 2:
            upper, lower = _within(x, y, error - distance), _within(x, y, error + distance)
            best = SmallestWidth(error, upper, lower.units)
            if best.exact:
                return best
        samples = 4 * (samples - 1) + 1
    if best is None:
        raise ValueError(
            f"no polygon of {most_samples:,} points comes within {error:g} of the curve: has it a jump or a pole?"
        )
    return best


def smallest_relu_width_of_points(x: ArrayLike, y: ArrayLike, error: float) -> Path:
    """The fewest links within `error` of the polygon through the points x (n,), ascending, and y (n,)."""
    at, value = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return _within(at, value, error)


def _within(x: Floats, y: Floats, error: float) -> Path:
    return fewest_links(x.tolist(), (y - error).tolist(), (y + error).tolist())


def _distance_to_polygon(function: Callable[[Floats], Floats], x: Floats, y: Floats) -> float:
    fine = np.linspace(x[0], x[-1], OVERSAMPLING * (len(x) - 1) + 1)
    values = np.asarray(function(fine), dtype=np.float64)
    if not (np.isfinite(values).all() and np.isfinite(y).all()):
        bad = fine[np.flatnonzero(~np.isfinite(values))[:1]]
        raise ValueError(f"the function is not finite near x = {bad[0] if len(bad) else x[~np.isfinite(y)][0]:g}")
    gap = float(np.max(np.abs(values - np.interp(fine, x, y))))
    return BEND_MARGIN * gap + ROUNDING * float(np.max(np.abs(y)))


def pieces_without_continuity(x: Sequence[Any], lower: Sequence[Any], upper: Sequence[Any]) -> int:
    """The fewest straight pieces through the same tube where they need not join: a lower bound that is found another way."""
    _check(x, lower, upper)
    pieces, start = 0, 0
    while start < len(x):
        stage = _Stage()
        points = _both(start, x, lower, upper)
        start = next((index for is_upper, point, index in points if not stage.fits(is_upper, point)), len(x))
        pieces += 1
    return pieces
