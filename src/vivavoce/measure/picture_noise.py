"""How much independent noise a picture holds, from the picture alone.

Small patches of a natural picture lie near a plane of few dimensions; noise fills all dimensions alike. So the smallest
eigenvalue of the patches' covariance is that of the noise, once patches with texture are left out. Source: Liu, Tanaka
and Okutomi, "Single-Image Noise Level Estimation for Blind Denoising", IEEE Transactions on Image Processing 22, 2013.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

PATCH = 7  # pixels
STRIDE = 2  # pixels between patches
MOST_PATCHES = 60_000  # of large pictures, whole rows of patches are left out evenly
FEWEST_PATCHES = 500  # below, a choice among them would say more about the choice than about the noise
ROUNDS = 25
STEADY = 1e-3  # relative change of the variance at which the choice is final
# In 95 % of flat patches with noise of variance 1 the squared differences between neighbours sum to less than this (their
# mean is 168). The paper takes all but one in a million; then more of the texture stays, and the level comes out too high.
FLAT_BOUND = 237.4
# ... and the smallest eigenvalue of those 95 % is this share of that of all. Both measured on white noise.
CHOSEN_SHARE = 0.964
# The smallest eigenvalue of n samples in d dimensions is too small by (1 − √(d/n))² (Marchenko and Pastur 1967); patches
# that overlap count as n/0.85, measured on white noise of 64×64 to 512×512 pixels.
OVERLAP_FACTOR = 0.85
WINDOW = 32  # pixels, of a local level


def noise_level(image: Floats) -> float:
    """Standard deviation of independent noise in `image` (H, W), in its units.

    Raises ValueError for a picture that is smaller than 16×16 pixels or not finite.
    """
    if image.ndim != 2 or min(image.shape) < 2 * PATCH + 2:
        raise ValueError(f"a picture of at least {2 * PATCH + 2}×{2 * PATCH + 2} pixels is expected, got {image.shape}")
    patches = _patches(image)
    if not np.isfinite(patches).all():
        raise ValueError("the picture must be finite")
    texture = _texture(patches)
    variance = _smallest_variance(patches)
    for _ in range(ROUNDS):
        flat = texture < FLAT_BOUND * variance
        if flat.sum() < FEWEST_PATCHES:
            break
        before, variance = variance, _smallest_variance(patches[flat]) / CHOSEN_SHARE
        if abs(variance - before) <= STEADY * before:
            break
    return float(np.sqrt(variance))


def _patches(image: Floats) -> NDArray[np.float64]:
    """(n, 49), evenly spread over the picture."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH))[::STRIDE, ::STRIDE]
    step = -(-windows.shape[0] * windows.shape[1] // MOST_PATCHES)
    return windows[::step].reshape(-1, PATCH**2).astype(np.float64)


def _texture(patches: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): squared differences between neighbours, summed."""
    squares = patches.reshape(-1, PATCH, PATCH)
    across, down = np.diff(squares, axis=2), np.diff(squares, axis=1)
    total: NDArray[np.float64] = (across**2).sum((1, 2)) + (down**2).sum((1, 2))
    return total


def _smallest_variance(patches: NDArray[np.float64]) -> float:
    centred = patches - patches.mean(0)
    smallest = float(np.linalg.eigvalsh(centred.T @ centred / len(patches))[0])
    bias = 1 - np.sqrt(min(OVERLAP_FACTOR * PATCH**2 / len(patches), 0.9))
    return max(smallest, 0.0) / float(bias**2)


def local_level(noise: Floats, window: int = WINDOW) -> NDArray[np.float64]:
    """Standard deviation in squares of `window` pixels, (H, W) to (⌈H/window⌉, ⌈W/window⌉), the last ones smaller."""
    return np.sqrt(np.maximum(_means(noise**2, window) - _means(noise, window) ** 2, 0.0))


def _means(values: Floats, window: int) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, size, window) for size in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values, rows, 0, dtype=np.float64), columns, 1)
    heights, widths = (np.diff([*starts, size]) for starts, size in zip((rows, columns), values.shape, strict=True))
    means: NDArray[np.float64] = sums / np.outer(heights, widths)
    return means
