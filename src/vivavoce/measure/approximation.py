"""One hidden layer fitted without gradient descent: fixed features and least squares in float64.

The universal approximation theorem says that a wide enough hidden layer exists, not that training finds it. Drawing
the hidden weights at random and solving for the output weights (Rahimi & Recht 2008, "Random features for large-scale
kernel machines"; Huang et al. 2006, "Extreme learning machine") shows what a width can do: the error is not blurred by
an optimizer that has not finished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.measure.links import Path

Floats = NDArray[np.float64]

# Slopes of the hidden units, times width over the size of the domain: a unit's bend is then this many unit spacings wide.
STEEPNESS = (0.05, 0.08, 0.14, 0.25, 0.5, 1.2)
DRAWS = 2  # random layers tried at each steepness, where they are cheap
CHEAP_WIDTH = 32  # units
FIT_POINTS = 6  # a hidden unit, on each axis of one
LEAST_FIT_POINTS = 500
MOST_FIT_POINTS = 8_000  # rows of a least-squares problem of some hundred columns: below a second
MARGIN = 0.1  # of the domain: units bend a little outside it, too, so that the ends are as well served as the middle
RANK_TOLERANCE = 1e-15  # of the largest singular value: float64 can tell no more


@dataclass(frozen=True)
class HiddenLayer:
    """y = output · act(hidden · x + bias) + skip · x + offset, in float64.

    Shapes: `hidden` (width, d), `bias` (width,), `output` (width,), `skip` (d,). `activation` is "tanh" or "relu".
    """

    activation: str
    hidden: Floats
    bias: Floats
    output: Floats
    skip: Floats
    offset: float

    @property
    def width(self) -> int:
        """Hidden units."""
        return len(self.bias)

    def __call__(self, x: ArrayLike) -> Floats:
        """The outputs (n,) at inputs of shape (n, d), or (n,) where d is 1."""
        rows = _rows(x, self.hidden.shape[1])
        inner = rows @ self.hidden.T + self.bias
        units = np.tanh(inner) if self.activation == "tanh" else np.maximum(inner, 0.0)
        return np.asarray(units @ self.output + rows @ self.skip + self.offset, dtype=np.float64)


def _rows(x: ArrayLike, size: int) -> Floats:
    rows = np.asarray(x, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != size:
        raise ValueError(f"inputs must have shape (n, {size}), not {np.shape(x)}")
    return rows


def from_path(path: Path) -> HiddenLayer:
    """The ReLU layer that is a piecewise linear path: a unit for every inner corner, the first piece as the skip."""
    x, y = np.asarray(path.x, dtype=np.float64), np.asarray(path.y, dtype=np.float64)
    slopes = np.diff(y) / np.diff(x)
    knots = x[1:-1]
    return HiddenLayer(
        "relu", np.ones((len(knots), 1)), -knots, np.diff(slopes), slopes[:1], float(y[0] - slopes[0] * x[0])
    )


def random_tanh_layer(
    inputs: ArrayLike, targets: ArrayLike, width: int, *, seed: int = 0, steepness: float | None = None
) -> HiddenLayer:
    """The best of a few random tanh layers, each with its least-squares output weights.

    `inputs` (n, d) or (n,), `targets` (n,). Judged by the largest error at the inputs; with `steepness` only layers of
    that slope are tried. Raises ValueError for fewer than two rows, for values that are not finite, and for a width below one.
    """
    y = np.asarray(targets, dtype=np.float64)
    x = np.asarray(inputs, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if width < 1 or len(x) < 2 or len(x) != len(y):
        raise ValueError(f"need a width of at least 1 and two or more rows; got {width}, {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("inputs and targets must be finite")
    random = np.random.default_rng(seed)
    slopes = STEEPNESS if steepness is None else (steepness,)
    draws = DRAWS if width <= CHEAP_WIDTH else 1
    layers = [_fit(x, y, width, slope, random) for slope in slopes for _ in range(draws)]
    return min(layers, key=lambda layer: float(np.max(np.abs(layer(x) - y))))


def _fit(x: Floats, y: Floats, width: int, steepness: float, random: np.random.Generator) -> HiddenLayer:
    hidden, bias = _draw(x, width, steepness, random)
    design = np.hstack([np.tanh(x @ hidden.T + bias), x, np.ones((len(x), 1))])
    # Columns of one length: a wide scale of columns would cost digits.
    scale = np.linalg.norm(design, axis=0)
    scale[scale == 0] = 1.0
    weights = np.linalg.lstsq(design / scale, y, rcond=RANK_TOLERANCE)[0] / scale
    return HiddenLayer("tanh", hidden, bias, weights[:width], weights[width:-1], float(weights[-1]))


def _draw(x: Floats, width: int, steepness: float, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Hidden weights (width, d) and biases (width,): directions at random, bends spread over the domain.

    In one dimension the bends are stratified, one at random in each of `width` equal parts.
    """
    low, high = x.min(axis=0), x.max(axis=0)
    size = np.where(high > low, high - low, 1.0)
    dimensions = x.shape[1]
    if dimensions == 1:
        spots = (np.arange(width)[:, None] + random.random((width, 1))) / width
        slope = steepness * width * random.uniform(0.7, 1.3, (width, 1))
    else:
        spots = random.random((width, dimensions))
        slope = steepness * width ** (1 / dimensions) * random.standard_normal((width, dimensions)) * 2
    centres = low - MARGIN * size + (1 + 2 * MARGIN) * size * spots
    hidden = slope / size
    return hidden, -np.sum(hidden * centres, axis=1)


def fit_function(
    function: Callable[[Floats], Floats], low: float, high: float, width: int, *, seed: int = 0
) -> HiddenLayer:
    """A random tanh layer for a function of one variable on [low, high], fitted at Chebyshev points."""
    n = min(MOST_FIT_POINTS, max(LEAST_FIT_POINTS, FIT_POINTS * width))
    x = chebyshev(low, high, n)
    return random_tanh_layer(x, np.asarray(function(x), dtype=np.float64), width, seed=seed)


def chebyshev(low: float, high: float, n: int) -> Floats:
    """n points on [low, high], ends included, that crowd towards the ends: (1 − cos(πk/(n−1)))/2."""
    share = (1 - np.cos(np.pi * np.arange(n) / (n - 1))) / 2
    return np.asarray(low + (high - low) * share, dtype=np.float64)


def pieces_in_the_limit(function: Callable[[Floats], Floats], low: float, high: float, error: float) -> float:
    """How many straight pieces the best approximation within `error` has, as the error goes to zero.

    ∫√|f″| dx / (4√ε): a chord of length h leaves h²|f″|/8, and half of that where it may leave the curve, h²|f″|/16 = ε.
    f″ is taken by central differences on a grid of 20,001 points, so the curve must be smooth.
    """
    x, step = np.linspace(low, high, 20_001, retstep=True)
    y = np.asarray(function(x), dtype=np.float64)
    second = np.abs(np.diff(y, 2)) / step**2
    return float(np.sum(np.sqrt(second)) * step / (4 * np.sqrt(error)))
