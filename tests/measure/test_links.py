"""Smallest ReLU networks against an independent lower bound, exact arithmetic and the published optimum of parabolas."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from vivavoce.measure.approximation import from_path
from vivavoce.measure.links import (
    fewest_links,
    pieces_without_continuity,
    smallest_relu_width,
    smallest_relu_width_of_points,
)


def sine(x: np.ndarray) -> np.ndarray:
    return np.sin(8 * np.pi * x)


def runge(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + 25 * x**2)


def stabbed(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether one straight line passes between the bounds, by linear programming."""
    columns = np.column_stack([x, np.ones_like(x)])
    result = linprog(
        [0, 0], A_ub=np.vstack([columns, -columns]), b_ub=np.concatenate([high, -low]), bounds=(None, None)
    )
    return bool(result.status == 0)


def lower_bound(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """Fewest pieces without continuity, by bisection over linear programs: no path has fewer."""
    pieces, start = 0, 0
    while start < len(x):
        ok, bad = start, len(x)
        while bad - ok > 1:
            middle = (ok + bad) // 2
            ok, bad = (
                (middle, bad)
                if stabbed(x[start : middle + 1], low[start : middle + 1], high[start : middle + 1])
                else (ok, middle)
            )
        pieces, start = pieces + 1, ok + 1
    return pieces


@pytest.mark.parametrize(
    ("function", "low", "error", "pieces"),
    [(sine, 0, 0.1, 17), (sine, 0, 0.03, 25), (sine, 0, 0.01, 49), (runge, -1, 0.0167, 7)],
)
def test_the_smallest_width_meets_the_lower_bound(function, low: float, error: float, pieces: int) -> None:
    smallest = smallest_relu_width(function, low, 1, error)
    grid = np.linspace(low, 1, 2_001)
    bound = lower_bound(grid, function(grid) - error, function(grid) + error)
    assert bound == pieces
    assert smallest.exact
    assert smallest.path.pieces == pieces
    assert smallest.units == pieces - 1
    fine = np.linspace(low, 1, 100_003)
    assert np.max(np.abs(smallest.path(fine) - function(fine))) <= error


@pytest.mark.parametrize("error", [1e-2, 1e-3, 1e-4])
def test_parabola_needs_as_many_pieces_as_the_closed_form_says(error: float) -> None:
    # The best line over a length h of x² misses it by h²/8, at both ends alike: so the pieces join, and h = √(8ε).
    needed = math.ceil(1 / math.sqrt(8 * error) - 1e-9)
    assert smallest_relu_width(lambda x: x**2, 0, 1, error).path.pieces == needed


def test_an_absolute_value_needs_one_unit() -> None:
    assert smallest_relu_width(lambda x: np.abs(2 * x - 1), 0, 1, 1e-3).units == 1
    assert smallest_relu_width(lambda x: 3 * x - 1, 0, 1, 1e-6).units == 0


@pytest.mark.parametrize("seed", range(30))
def test_random_tubes_in_exact_arithmetic(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.cumsum(random.integers(1, 5, 40))
    middle, half = np.cumsum(random.integers(-4, 5, 40)), random.integers(1, 6, 40)
    low, high = middle - half, middle + half
    exact = fewest_links(*([Fraction(int(v)) for v in values] for values in (x, low, high)))
    floats = fewest_links(x.astype(float).tolist(), low.astype(float).tolist(), high.astype(float).tolist())
    assert exact.pieces == floats.pieces
    bound = lower_bound(x.astype(float), low.astype(float), high.astype(float))
    assert pieces_without_continuity(x.tolist(), low.tolist(), high.tolist()) == bound
    assert bound <= exact.pieces <= 2 * bound - 1
    assert_within(exact, x, low, high)


def assert_within(path, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """In exact arithmetic: at the corners of path and tube together, between which both are straight."""
    places = sorted({Fraction(int(v)) for v in x} | set(path.x))
    for place in places:
        height = exact_height(list(path.x), list(path.y), place)
        assert exact_height(list(x), list(low), place) <= height <= exact_height(list(x), list(high), place)


def exact_height(xs: list, ys: list, place: Fraction) -> Fraction:
    i = next(i for i in range(1, len(xs)) if xs[i] >= place)
    left, right = Fraction(xs[i - 1]) if not isinstance(xs[i - 1], np.integer) else Fraction(int(xs[i - 1])), xs[i]
    right = Fraction(int(right)) if isinstance(right, np.integer) else right
    a, b = (Fraction(int(y)) if isinstance(y, np.integer) else y for y in (ys[i - 1], ys[i]))
    return a if right == left else a + (b - a) * (place - left) / (right - left)


def exhaustive_minimum(x: list[int], low: list[int], high: list[int], resolution: int) -> int:
    """Fewest links with corners on a fine grid, by breadth-first search over all corners: at least the true minimum."""
    corners = []
    for place in (Fraction(i, resolution) for i in range(x[0] * resolution, x[-1] * resolution + 1)):
        a, b = exact_height(x, low, place), exact_height(x, high, place)
        k = math.ceil(a * resolution)
        while Fraction(k, resolution) <= b:
            corners.append((place, Fraction(k, resolution)))
            k += 1
    reached = {c for c in corners if c[0] == x[0]}
    for links in range(1, len(x) + 1):
        following = {
            c for c in corners if c not in reached and any(r[0] < c[0] and sees(r, c, x, low, high) for r in reached)
        }
        if any(c[0] == x[-1] for c in following):
            return links
        reached |= following
    raise AssertionError("the tube has no path on the grid")


def sees(a: tuple, b: tuple, x: list[int], low: list[int], high: list[int]) -> bool:
    for xi, below, above in zip(x, low, high, strict=True):
        if a[0] <= xi <= b[0] and not below <= a[1] + (b[1] - a[1]) * (xi - a[0]) / (b[0] - a[0]) <= above:
            return False
    return True


@pytest.mark.parametrize("seed", range(8))
def test_no_path_on_a_fine_grid_has_fewer_links(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = list(range(6))
    middle = random.integers(-4, 5, 6)
    low, high = (middle - 1).tolist(), (middle + 1).tolist()
    found = fewest_links([Fraction(v) for v in x], [Fraction(v) for v in low], [Fraction(v) for v in high])
    assert found.pieces <= exhaustive_minimum(x, low, high, 2)


def test_the_network_of_a_path_is_the_path() -> None:
    path = smallest_relu_width(sine, 0, 1, 0.03).path
    x = np.linspace(0, 1, 5_001)
    network = from_path(path)
    assert network.width == path.units
    np.testing.assert_allclose(network(x), path(x), atol=1e-11)


def test_points_are_met_within_the_error() -> None:
    x = np.sort(np.random.default_rng(0).random(500))
    path = smallest_relu_width_of_points(x, sine(x), 0.05)
    assert np.max(np.abs(path(x) - sine(x))) <= 0.05 + 1e-12


@pytest.mark.parametrize(
    ("x", "low", "high", "why"),
    [
        ([0.0], [0.0], [1.0], "two points"),
        ([0.0, 0.0], [0.0, 0.0], [1.0, 1.0], "ascend"),
        ([0.0, 1.0], [2.0, 0.0], [1.0, 1.0], "exceeds"),
        ([0.0, 1.0], [0.0, float("nan")], [1.0, 1.0], "not a number"),
        ([0.0, 1.0], [0.0], [1.0, 1.0], "values"),
    ],
)
def test_bad_tubes_are_refused(x: list, low: list, high: list, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fewest_links(x, low, high)


def test_a_jump_has_no_polygon() -> None:
    with pytest.raises(ValueError, match="jump or a pole"):
        smallest_relu_width(lambda x: np.where(x < 0.5, 0.0, 1.0), 0, 1, 0.1, most_samples=5_000)
