"""Runs the network over pictures of any size, tile by tile, with memory that does not grow with the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vivavoce.labs.denoise import colour
from vivavoce.labs.denoise.network import CHANNELS, MULTIPLE, Denoiser
from vivavoce.measure.picture_noise import WINDOW, local_level, noise_level

TILE = 768  # pixels of a tile that are kept; a multiple of WINDOW
MARGIN = 64  # pixels around them that the network sees too: more than its receptive field reaches
ROWS_OF_LEVEL = 1024  # rows and columns of a large picture that its noise is estimated from, at its centre and corners
SYMMETRIES = 8
MOST_DEVIATIONS = 4.5  # noise is farther off in 7 of a million pixels: a larger change is a mistake and is cut to this

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Restored:
    """The picture without its noise, the level that was given or found, and how much was removed where.

    `level` and `removed` (⌈H/32⌉, ⌈W/32⌉) are standard deviations in units of 1/255 of the range.
    """

    pixels: Pixels
    level: float
    removed: NDArray[np.float64]


def estimate(pixels: Pixels) -> float:
    """Standard deviation of the noise of a picture (H, W, C), of 255. Large pictures are looked at in parts.

    Raises ValueError for pictures smaller than 16×16.
    """
    scale = 255 / np.iinfo(pixels.dtype).max
    parts = [part[..., c].astype(np.float32) for part in _parts(pixels) for c in range(pixels.shape[2])]
    return scale * float(np.sqrt(np.mean([noise_level(part) ** 2 for part in parts])))


def _parts(pixels: Pixels) -> Iterator[Pixels]:
    """The picture, or of a large one the centre and the corners."""
    height, width = pixels.shape[:2]
    if max(height, width) <= 2 * ROWS_OF_LEVEL:
        yield pixels
        return
    tall, wide = min(height, ROWS_OF_LEVEL), min(width, ROWS_OF_LEVEL)
    down, right = height - tall, width - wide
    for top, left in {(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)}:
        yield pixels[top : top + tall, left : left + wide]


@dataclass(frozen=True)
class Manner:
    """How to go about it."""

    ensemble: bool = False  # the mean of the picture's eight turned and mirrored versions, at eight times the cost
    exact: bool = False  # compute in float32 where the processor would be faster in bfloat16 too


def restore(
    network: Denoiser,
    pixels: Pixels,
    level: float,
    manner: Manner = Manner(),
    advance: Callable[[float], None] = lambda _: None,
) -> Restored:
    """Remove noise of standard deviation `level` (of 255) from `pixels` (H, W, 1 or 3); `advance` is called with pixels."""
    height, width = pixels.shape[:2]
    clean = np.empty_like(pixels)
    removed = np.zeros((-(-height // WINDOW), -(-width // WINDOW)))
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            rows, columns = slice(top, min(top + TILE, height)), slice(left, min(left + TILE, width))
            tile = _tile(network, pixels, rows, columns, level, manner)
            before = _unit(pixels[rows, columns])
            removed[_squares(rows), _squares(columns)] = 255 * _level_of(before - tile)
            clean[rows, columns] = _quantised(tile, pixels.dtype)
            advance(float(before.shape[0] * before.shape[1]))
    return Restored(clean, level, removed)


def _squares(part: slice) -> slice:
    return slice(part.start // WINDOW, -(-part.stop // WINDOW))


def _level_of(noise: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root of the mean variance over the channels, in squares."""
    squares: NDArray[np.float64] = np.sqrt(
        np.mean([local_level(noise[..., c]) ** 2 for c in range(noise.shape[2])], axis=0)
    )
    return squares


def _tile(
    network: Denoiser, pixels: Pixels, rows: slice, columns: slice, level: float, manner: Manner
) -> NDArray[np.float32]:
    """The clean (h, w, C) of one tile in [0, 1], computed with its surroundings."""
    (up, down), (before, after) = (_margins(rows, pixels.shape[0]), _margins(columns, pixels.shape[1]))
    seen = pixels[rows.start - up : rows.stop + down, columns.start - before : columns.stop + after]
    noisy = torch.from_numpy(_unit(seen)).permute(2, 0, 1)
    found = run(network, noisy, level, manner).permute(1, 2, 0).numpy()
    inside: NDArray[np.float32] = found[
        up : up + rows.stop - rows.start, before : before + columns.stop - columns.start
    ]
    return inside


def _margins(part: slice, size: int) -> tuple[int, int]:
    """What of the margin lies inside the picture, before and after."""
    return min(MARGIN, part.start), min(MARGIN, size - part.stop)


@torch.inference_mode()
def run(network: Denoiser, noisy: Tensor, level: float, manner: Manner) -> Tensor:
    """`noisy` (C, H, W) in [0, 1], of any size and 1 or 3 channels, without its noise of `level` (of 255)."""
    channels = noisy.shape[0]
    image = noisy.expand(1, -1, -1, -1) if channels == 1 else colour.to_luma(noisy)[None]
    factor = 1.0 if channels == 1 else colour.LEVEL_FACTOR
    sigma = torch.full((1, 1, 1, 1), factor * level / 255)
    kinds = range(SYMMETRIES if manner.ensemble else 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=not manner.exact and has_fast_bfloat16()):
        mean = torch.stack([_turned(_padded(network, _turned(image, k), sigma), k, back=True) for k in kinds]).mean(0)
    return mean[0] if channels == 1 else colour.to_rgb(mean[0])


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16: almost twice as fast, and less than 0.01 dB from float32."""
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of newer versions of PyTorch
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _padded(network: Denoiser, image: Tensor, sigma: Tensor) -> Tensor:
    """Call the network on (1, C, H, W) of any size: mirrored at its edges to a multiple of four, grey without chroma."""
    channels, height, width = image.shape[1:]
    bottom, right = -height % MULTIPLE, -width % MULTIPLE
    mode = "reflect" if min(height, width) >= MULTIPLE else "replicate"
    whole = F.pad(image, (0, right, 0, bottom), mode=mode)
    whole = torch.cat([whole, whole.new_zeros(1, CHANNELS - channels, *whole.shape[2:])], 1)
    found = network(whole.contiguous(memory_format=torch.channels_last), sigma) - whole
    change = found[:, :channels, :height, :width].clamp(-MOST_DEVIATIONS * sigma, MOST_DEVIATIONS * sigma)
    restored: Tensor = image + change
    return restored


def _turned(image: Tensor, kind: int, back: bool = False) -> Tensor:
    """One of the eight symmetries of the square, or its inverse."""
    quarter, mirrored = kind % 4, kind >= 4
    if back:
        image = torch.rot90(image, -quarter, (2, 3))
        return image.flip(3) if mirrored else image
    return torch.rot90(image.flip(3) if mirrored else image, quarter, (2, 3))


def _unit(pixels: Pixels) -> NDArray[np.float32]:
    """In [0, 1]."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _quantised(values: NDArray[np.float32], kind: np.dtype[Any]) -> Pixels:
    found: Pixels = np.rint(np.clip(values, 0, 1) * np.iinfo(kind).max).astype(kind)
    return found
