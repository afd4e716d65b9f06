"""A small writer of PNG images with a palette, enough for a heat map. Format: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BITS_PER_PIXEL = 8
_COLOUR_TYPE_PALETTE = 3


def encode(indices: NDArray[np.uint8], palette: list[tuple[int, int, int]], transparent: int | None = None) -> bytes:
    """A PNG of shape (height, width) whose pixels are indices into a palette of at most 256 RGB colours.

    `transparent` is the index that is drawn as nothing.
    """
    height, width = indices.shape
    header = struct.pack(">IIBBBBB", width, height, _BITS_PER_PIXEL, _COLOUR_TYPE_PALETTE, 0, 0, 0)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)  # each line begins with "no filter"
    chunks = [(b"IHDR", header), (b"PLTE", bytes(value for colour in palette for value in colour))]
    if transparent is not None:
        chunks.append((b"tRNS", bytes(0 if index == transparent else 255 for index in range(len(palette)))))
    chunks += [(b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(kind, data) for kind, data in chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file, with its length and its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
