"""PNG with 16 bits a channel, which Pillow reads as 8. Format: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.lab import LabError
from vivavoce.report.png import SIGNATURE, chunk

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type: grey, RGB, grey with alpha, RGB with alpha
KEPT = {b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"cICP", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"}
LEVEL = 6  # of zlib
ROWS = 256  # that are compressed at a time
_BYTES = 2


@dataclass(frozen=True)
class Png16:
    """Pixels (H, W, 1 to 4), uint16, and the chunks that say something about them."""

    pixels: NDArray[np.uint16]
    chunks: tuple[tuple[bytes, bytes], ...]


def is_png16(data: bytes) -> bool:
    """Whether these bytes begin a PNG with 16 bits a channel."""
    return data[:8] == SIGNATURE and data[12:16] == b"IHDR" and data[24:25] == b"\x10"


def decode(data: bytes) -> Png16:
    """Raises LabError for a damaged file and an interlaced one."""
    try:
        chunks = list(_chunks(data))
        width, height, _, kind, _, _, interlaced = struct.unpack(">IIBBBBB", dict(chunks)[b"IHDR"])
        if interlaced:
            raise LabError("an interlaced PNG with 16 bits a channel is not supported: save it without interlacing")
        raw = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
        lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * CHANNELS[kind] * _BYTES)
    except (struct.error, KeyError, ValueError, zlib.error) as error:
        raise LabError(f"the PNG is damaged: {error}") from None
    plain = _unfiltered(lines, CHANNELS[kind] * _BYTES)
    pixels = plain.view(">u2").astype(np.uint16).reshape(height, width, CHANNELS[kind])
    return Png16(pixels, tuple((name, content) for name, content in chunks if name in KEPT))


def encode(picture: Png16) -> bytes:
    """The bytes of a PNG file; its lines are differences to the pixel on the left."""
    height, width, channels = picture.pixels.shape
    kind = next(kind for kind, count in CHANNELS.items() if count == channels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = [*picture.chunks, (b"IDAT", _packed(picture.pixels)), (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(*part) for part in [(b"IHDR", header), *body])


def _packed(pixels: NDArray[np.uint16]) -> bytes:
    """The lines, compressed a few at a time so that no second copy of a large picture is made."""
    packer = zlib.compressobj(LEVEL)
    parts = [packer.compress(_filtered(pixels[top : top + ROWS])) for top in range(0, len(pixels), ROWS)]
    return b"".join([*parts, packer.flush()])


def _filtered(rows: NDArray[np.uint16]) -> bytes:
    flat = np.ascontiguousarray(rows.astype(">u2")).view(np.uint8).reshape(len(rows), -1)
    step = rows.shape[2] * _BYTES
    lines = np.empty((len(rows), 1 + flat.shape[1]), np.uint8)
    lines[:, 0] = 1
    lines[:, 1:] = flat
    lines[:, 1 + step :] -= flat[:, :-step]
    return lines.tobytes()


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        (check,) = struct.unpack_from(">I", data, place + 8 + size)
        if check != zlib.crc32(name + content):
            raise ValueError(f"checksum of {name.decode('latin-1')} does not match")
        yield name, content
        place += 12 + size


def _unfiltered(lines: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Undo the five filters, line by line; `step` is bytes per pixel."""
    plain = np.zeros((len(lines), lines.shape[1] - 1), np.uint8)
    above = np.zeros(lines.shape[1] - 1, np.uint8)
    for index, line in enumerate(lines):
        plain[index] = above = _line(int(line[0]), line[1:], above, step)
    return plain


def _line(kind: int, line: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    if kind == 0:
        return line
    if kind == 1:
        return _running_sums(line, step)
    if kind == 2:
        return line + above
    if kind in (3, 4):
        return _predicted(line, above, step, _average if kind == 3 else _paeth)
    raise LabError(f"the PNG is damaged: there is no filter {kind}")


def _running_sums(line: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Each byte plus the one a pixel before it, modulo 256."""
    sums: NDArray[np.uint8] = np.cumsum(line.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
    return sums


def _predicted(
    line: NDArray[np.uint8], above: NDArray[np.uint8], step: int, predict: Callable[[int, int, int], int]
) -> NDArray[np.uint8]:
    """The two filters whose pixels depend on each other: plain Python integers are the fastest here."""
    values, up = line.tolist(), above.tolist()
    done = [0] * step + values
    corner = [0] * step + up
    for i, value in enumerate(values):
        done[i + step] = (value + predict(done[i], up[i], corner[i])) & 255
    return np.array(done[step:], np.uint8)


def _average(left: int, up: int, corner: int) -> int:
    return (left + up) >> 1


def _paeth(left: int, up: int, corner: int) -> int:
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner
