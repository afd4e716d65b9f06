"""Sound files: RIFF WAVE with 8, 16, 24 or 32 bits, whole numbers or floating point, any number of channels.

Format: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft 1991), and WAVE_FORMAT_EXTENSIBLE.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.lab import LabError

Floats = NDArray[np.float64]

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
KINDS = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}
FRAMES_PER_BLOCK = 65_536
MOST_RATE = 10_000_000  # hertz; a header that says more is damaged


@dataclass(frozen=True)
class Sound:
    """Where the samples of a file lie. `frames` are samples of every channel at one time."""

    path: Path
    rate: int
    channels: int
    kind: int
    bits: int
    offset: int
    frames: int

    def blocks(self, first: int = 0) -> Iterator[Floats]:
        """The samples from frame `first` on, in blocks (frames, channels), full scale being ±1."""
        width = self.bits // 8 * self.channels
        with self.path.open("rb") as stream:
            stream.seek(self.offset + first * width)
            left = self.frames - first
            while left > 0:
                data = stream.read(min(left, FRAMES_PER_BLOCK) * width)
                count = len(data) // width
                if not count:
                    return
                yield _decoded(data[: count * width], self.kind, self.bits).reshape(count, self.channels)
                left -= count


def open_sound(path: str) -> Sound:
    """Read the header of a file. Raises LabError for what is no WAVE file or one of a kind that is not known."""
    try:
        with Path(path).open("rb") as stream:
            return _header(Path(path), stream)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror or error}") from None


def _header(path: Path, stream: BinaryIO) -> Sound:
    size = path.stat().st_size
    head = stream.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise LabError(f"{path} is no WAV file: it does not begin with RIFF … WAVE")
    form: tuple[int, int, int, int] | None = None
    while len(chunk := stream.read(8)) == 8:
        name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"fmt ":
            form = _format(path, stream.read(length + length % 2))
        elif name == b"data":
            if form is None:
                break
            return _sound(path, form, stream.tell(), min(length, size - stream.tell()))
        else:
            stream.seek(length + length % 2, 1)
    raise LabError(f"{path} is a damaged WAV file: it has no {'samples' if form else 'description of its samples'}")


def _format(path: Path, data: bytes) -> tuple[int, int, int, int]:
    """Kind, channels, rate, bits."""
    if len(data) < 16:
        raise LabError(f"{path} is a damaged WAV file: its description has {len(data)} bytes, 16 are expected")
    kind, channels, rate, _, align, bits = struct.unpack("<HHIIHH", data[:16])
    if kind == EXTENSIBLE and len(data) >= 26:
        kind = struct.unpack("<H", data[24:26])[0]
    if (kind, bits) not in KINDS:
        raise LabError(
            f"{path} holds sound of kind {kind} with {bits} bits; whole numbers of 8, 16, 24 or 32 bits and floating "
            f"point of 32 or 64 are read"
        )
    if not channels or align != channels * bits // 8 or not 0 < rate <= MOST_RATE:
        raise LabError(
            f"{path} is a damaged WAV file: {channels} channels, {align} bytes a frame, {rate} frames a second"
        )
    return kind, channels, rate, bits


def _sound(path: Path, form: tuple[int, int, int, int], offset: int, length: int) -> Sound:
    kind, channels, rate, bits = form
    frames = length // (channels * bits // 8)
    if not frames:
        raise LabError(f"{path} holds no samples")
    return Sound(path, rate, channels, kind, bits, offset, frames)


def _decoded(data: bytes, kind: int, bits: int) -> Floats:
    if kind == FLOAT:
        return np.frombuffer(data, f"<f{bits // 8}").astype(np.float64)
    if bits == 8:  # the only unsigned one
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128
    if bits == 24:  # put behind a zero byte, three bytes are the upper ones of a whole number of four
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return padded.view("<i4").reshape(-1).astype(np.float64) / 2**31
    return np.frombuffer(data, f"<i{bits // 8}").astype(np.float64) / 2.0 ** (bits - 1)
