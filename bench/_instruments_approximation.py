"""Smallest networks, certificates and jumps against linear programs and known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from bench._instruments import Bar
from scipy.optimize import linprog

from vivavoce.measure.approximation import fit_function
from vivavoce.measure.jump import certify, find_breaks
from vivavoce.measure.links import smallest_relu_width

LAB = "approximation"
GRID = 20_001
BOUND_GRID = 2_001  # points of the linear programs; fewer constraints only lower the bound


def bars(quick: bool) -> list[Bar]:
    return [*_bars()]


def _bars() -> Iterator[Bar]:
    functions: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
        "sin 8πx": (lambda x: np.sin(8 * np.pi * x), 0.0),
        "Runge": (lambda x: 1 / (1 + 25 * x**2), -1.0),
        "exp(−x²)": (lambda x: np.exp(-(x**2)), -1.0),
    }
    for name, (function, low) in functions.items():
        x = np.linspace(low, 1, GRID)
        error = float(np.max(np.abs(fit_function(function, low, 1, 128)(x) - function(x))))
        yield Bar(LAB, f"largest error of 128 tanh units on {name}", error, 1e-10, True, f"{GRID:,} points")
    for name, error in (("sin 8πx", 0.1), ("sin 8πx", 0.03), ("sin 8πx", 0.01), ("Runge", 0.0167)):
        function, low = functions[name]
        found = smallest_relu_width(function, low, 1, error)
        x = np.linspace(low, 1, BOUND_GRID)
        bound = _lower_bound(x, function(x) - error, function(x) + error)
        less = found.path.pieces - bound if found.exact else np.inf
        what = f"pieces above the lower bound {bound}, {name} within {error:g}"
        yield Bar(LAB, what, float(less), 0, True, "linear programs (scipy)")
    worst, places = float("inf"), []
    for place in (0.3, 1 / 3, 0.9999):

        def step(x: np.ndarray, place: float = place) -> np.ndarray:
            return np.sin(9 * x) + np.where(x < place, 0.0, 1.0)

        (jump,) = find_breaks(step, 0, 1)
        places.append(max(abs(jump.left - place), abs(jump.height - 1)))
        bounds = [certify(fit_function(step, 0, 1, width), jump).bound for width in (4, 16, 64)]
        worst = min(worst, *bounds)
    yield Bar(LAB, "least certificate of a jump of 1", worst, 0.5, False, "the theorem")
    yield Bar(LAB, "error of a jump's place and height", max(places), 1e-12, True, "where it was put")


def _lower_bound(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """Fewest pieces that need not join: bisection over linear programs (scipy's HiGHS)."""
    pieces, start = 0, 0
    while start < len(x):
        ok, bad = start, len(x)
        while bad - ok > 1:
            middle = (ok + bad) // 2
            part = slice(start, middle + 1)
            columns = np.column_stack([x[part], np.ones(middle + 1 - start)])
            stabbed = linprog(
                [0, 0],
                A_ub=np.vstack([columns, -columns]),
                b_ub=np.concatenate([high[part], -low[part]]),
                bounds=(None, None),
            )
            ok, bad = (middle, bad) if stabbed.status == 0 else (ok, middle)
        pieces, start = pieces + 1, ok + 1
    return pieces
