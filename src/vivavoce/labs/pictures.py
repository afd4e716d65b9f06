"""Pictures and short films as files: PNG, and animated PNG, which every browser shows. Format: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from vivavoce.report.png import SIGNATURE, chunk

Bytes = NDArray[np.uint8]

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels: grey, RGB, RGB with opacity
_BITS = 8
_MILLISECONDS = 1_000  # of which a frame's time is counted


def png(pixels: Bytes) -> bytes:
    """A picture (height, width, channels) of 1 (grey), 3 (RGB) or 4 (RGB and opacity) channels."""
    return film(pixels[None], 0)


def film(frames: Bytes, milliseconds: int) -> bytes:
    """Frames (n, height, width, channels), each shown for so many milliseconds, again and again. One frame is a plain PNG.

    Raises ValueError for another shape or type.
    """
    if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[3] not in _COLOUR_TYPES or not frames.size:
        raise ValueError(f"uint8 frames (n, height, width, 1|3|4) are expected, got {frames.dtype} {frames.shape}")
    n, height, width, channels = frames.shape
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, _BITS, _COLOUR_TYPES[channels], 0, 0, 0))]
    if n > 1:
        chunks.append((b"acTL", struct.pack(">II", n, 0)))
    number = 0
    for index, frame in enumerate(frames):
        if n > 1:
            control = struct.pack(">IIIIIHHBB", number, width, height, 0, 0, milliseconds, _MILLISECONDS, 0, 0)
            chunks.append((b"fcTL", control))
            number += 1
        data = _compressed(frame)
        if index:
            chunks.append((b"fdAT", struct.pack(">I", number) + data))
            number += 1
        else:
            chunks.append((b"IDAT", data))
    return SIGNATURE + b"".join(chunk(kind, data) for kind, data in [*chunks, (b"IEND", b"")])


def _compressed(frame: Bytes) -> bytes:
    lines = frame.reshape(len(frame), -1)
    return zlib.compress(np.concatenate([np.zeros((len(lines), 1), np.uint8), lines], axis=1).tobytes(), 9)


def tiled(pictures: Bytes, columns: int, gap: int = 2) -> Bytes:
    """Pictures (n, height, width, channels) side by side with transparent gaps: one (height', width', 4)."""
    n, height, width, _ = pictures.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = opaque(picture)
    return sheet


def opaque(picture: Bytes) -> Bytes:
    """A picture (…, 1|3|4) with four channels."""
    if picture.shape[-1] == 4:
        return picture
    colours = np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture
    return np.concatenate([colours, np.full((*picture.shape[:-1], 1), 255, np.uint8)], axis=-1)


def enlarged(pictures: Bytes, factor: int) -> Bytes:
    """Every pixel of (…, height, width, channels) as a square of `factor` × `factor`."""
    return pictures.repeat(factor, axis=-3).repeat(factor, axis=-2)
