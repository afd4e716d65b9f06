"""Pictures made by rule, whose noise-free version is known: leaves that fall on each other, as in photographs.

Discs of random size, place and shade that hide what lies below them have the edges and the spectrum of natural pictures
(Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAVES = 2500
SMALLEST, LARGEST = 4.0, 90.0  # radius in pixels; the density falls with its third power
TINT = 0.08  # standard deviation of red, green and blue around their mean
SMOOTHING = 3  # samples a pixel, so that edges are as soft as a camera's


def leaves(size: int, channels: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A picture (size, size, channels) in [0, 1]."""
    fine = size * SMOOTHING
    canvas = np.full((fine, fine, channels), 0.5)
    for radius, shade in zip(_radii(rng), _shades(channels, rng), strict=True):
        _drop(canvas, SMOOTHING * radius, shade, rng)
    picture: NDArray[np.float64] = canvas.reshape(size, SMOOTHING, size, SMOOTHING, channels).mean((1, 3))
    return picture


def _shades(channels: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(LEAVES, channels): any brightness, and colours near grey, as most in photographs are."""
    tint = TINT * rng.normal(size=(LEAVES, channels)) if channels > 1 else 0.0
    shades: NDArray[np.float64] = np.clip(rng.uniform(0.05, 0.95, (LEAVES, 1)) + tint, 0, 1)
    return shades


def _radii(rng: np.random.Generator) -> NDArray[np.float64]:
    """Radii whose density falls with the third power: then every scale looks like every other."""
    u = rng.random(LEAVES)
    radii: NDArray[np.float64] = (SMALLEST**-2 + u * (LARGEST**-2 - SMALLEST**-2)) ** -0.5
    return radii


def _drop(canvas: NDArray[np.float64], radius: float, shade: NDArray[np.float64], rng: np.random.Generator) -> None:
    """One leaf with a slope of brightness across it."""
    y, x = rng.uniform(-radius, len(canvas) + radius, 2)
    rows = slice(max(0, int(y - radius)), max(0, int(y + radius) + 1))
    columns = slice(max(0, int(x - radius)), max(0, int(x + radius) + 1))
    part = canvas[rows, columns]
    if not part.size:
        return
    down = (np.arange(rows.start, rows.start + part.shape[0]) - y)[:, None] / radius
    across = (np.arange(columns.start, columns.start + part.shape[1]) - x)[None] / radius
    inside = down**2 + across**2 < 1
    slope = 0.1 * (rng.normal() * down + rng.normal() * across)
    part[inside] = np.clip(shade + slope[..., None], 0, 1)[inside]
