"""A sound or a series, read in blocks: an excerpt to fit cycles to, and the averaged spectrum of all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.inputs import Chunk, CsvFile
from vivavoce.labs.lab import Context, LabError
from vivavoce.labs.wav import open_sound
from vivavoce.measure.spectrum_cycles import FEWEST
from vivavoce.measure.spectrum_stream import AveragedSpectrum

Floats = NDArray[np.float64]

MOST_SAMPLES = 262_144  # of the excerpt: six seconds of sound; the fit of eight cycles then takes about 20 s
FRAME = 4_096  # samples of a frame of the averaged spectrum
TIMES = ("time", "t", "date", "datetime", "timestamp", "month", "day", "year", "seconds", "index", "step")
DAY = 86_400.0  # seconds
UNEVEN = 0.25  # of a step, by which a time may miss an even grid: calendar months do, by less


@dataclass
class Signal:
    """What a file holds. `samples` (n,) are the excerpt, NaN where one is missing; `unit` is what the rate counts in."""

    samples: Floats
    rate: float
    unit: str  # of time: "s", "day", "step"
    name: str
    averaged: tuple[Floats, Floats] | None = None  # frequencies and power density of the whole file
    notes: list[str] = field(default_factory=list)


def read(path: str, context: Context) -> Signal:
    """Read a WAV or a CSV file as the options say. Raises LabError."""
    signal = _sound(path, context) if _is_sound(path) else _series(path, context)
    seen = np.isfinite(signal.samples)
    if seen.sum() < FEWEST:
        raise LabError(f"{path} has {int(seen.sum())} samples to work with; at least {FEWEST} are needed")
    if np.ptp(signal.samples[seen]) == 0:
        raise LabError(f"{path} is constant: every sample is {signal.samples[seen][0]:g}; it has no cycles")
    return signal


def _is_sound(path: str) -> bool:
    if path.lower().endswith((".wav", ".wave")):
        return True
    try:
        with Path(path).open("rb") as stream:
            return stream.read(4) == b"RIFF"
    except OSError:
        return False


class _Gathered:
    """The excerpt and the averaged spectrum, filled block by block."""

    def __init__(self, rate: float, first: int, most: int) -> None:
        self.first, self.most, self.total = first, most, 0
        self._parts: list[Floats] = []
        self._kept = 0
        self._spectrum = AveragedSpectrum(rate, FRAME)

    def add(self, block: Floats) -> None:
        start = max(self.first - self.total, 0)
        part = block[start : start + self.most - self._kept]
        if len(part):
            self._parts.append(part)
            self._kept += len(part)
        self.total += len(block)
        self._spectrum.update(block[np.isfinite(block)])

    def samples(self) -> Floats:
        return np.concatenate(self._parts) if self._parts else np.zeros(0)

    def averaged(self) -> tuple[Floats, Floats] | None:
        return self._spectrum.read() if self._spectrum.frames else None

    def notes(self, rate: float, unit: str) -> list[str]:
        if self._kept == self.total:
            return []
        return [
            f"Cycles are fitted to {self._kept:,} of {self.total:,} samples, from {self.first / rate:g} {unit} on; "
            "--start and --length choose others. The averaged spectrum is that of the whole file."
        ]


def _span(context: Context, rate: float) -> tuple[int, int]:
    start, length = context.options["start"], context.options["length"]
    if start < 0 or (length is not None and not length > 0):
        raise LabError(f"--start must not be negative and --length must be positive, got {start:g} and {length}")
    first = round(start * rate)
    return first, MOST_SAMPLES if length is None else max(round(length * rate), 1)


def _sound(path: str, context: Context) -> Signal:
    sound = open_sound(path)
    channel = _channel(context.options["channel"], sound.channels, path)
    if context.options["rate"] is not None:
        raise LabError(f"--rate is for series; {path} says itself that it has {sound.rate} samples a second")
    gathered = _Gathered(sound.rate, *_span(context, sound.rate))
    with context.progress.task("reading", sound.frames) as advance:
        for block in sound.blocks():
            mono = block.mean(axis=1) if channel is None else block[:, channel]
            if not np.isfinite(mono).all():
                raise LabError(f"{path} holds samples that are not finite, near number {gathered.total:,}")
            gathered.add(mono)
            advance(len(block))
    notes = gathered.notes(sound.rate, "s")
    if sound.channels > 1:
        which = "the mean of all" if channel is None else f"number {channel + 1}"
        notes.append(f"{sound.channels} channels: {which} is used; --channel chooses.")
    return Signal(gathered.samples(), float(sound.rate), "s", "sound", gathered.averaged(), notes)


def _channel(given: str, channels: int, path: str) -> int | None:
    if given == "mean":
        return None
    if not given.isdigit() or not 1 <= int(given) <= channels:
        raise LabError(f"--channel is 'mean' or a number from 1 to {channels} for {path}, not {given!r}")
    return int(given) - 1


def _series(path: str, context: Context) -> Signal:
    file = CsvFile(path)
    time = _time_column(file, context.options["time"], context.options["rate"])
    value = _value_column(file, context, time)
    rate, unit, offset, notes = _rate(file, time, context)
    gathered = _Gathered(rate, *_span(context, rate))
    for block in _blocks(file, value, time, rate, unit, offset, context):
        gathered.add(block)
    missing = int(np.isnan(gathered.samples()).sum())
    notes += [f"{missing:,} samples are missing; the fit leaves them out."] if missing else []
    return Signal(gathered.samples(), rate, unit, value, gathered.averaged(), notes + gathered.notes(rate, unit))


def _time_column(file: CsvFile, given: str | None, rate: float | None) -> str | None:
    if given:
        return file.column(given)
    if rate is not None:
        return None
    lower = {name.lower(): name for name in file.header}
    return next((lower[name] for name in TIMES if name in lower), None)


def _value_column(file: CsvFile, context: Context, time: str | None) -> str:
    """The column that was named, or the only one of numbers."""
    if context.options["column"]:
        return file.column(context.options["column"])
    left = [name for name in file.header if name != time and name.lower() not in TIMES]
    first = next(file.chunks(left, context), None) if left else None
    if first is None:
        raise LabError(f"{file.path} has no rows of values")
    numeric = [name for name in left if first.looks_numeric(name)]
    if len(numeric) != 1:
        found = f"{len(numeric)} columns of numbers ({', '.join(numeric[:8])})" if numeric else "no column of numbers"
        raise LabError(f"{file.path} has {found}; name one with --column")
    return numeric[0]


def _rate(file: CsvFile, time: str | None, context: Context) -> tuple[float, str, float, list[str]]:
    """Samples a unit of time, the unit, the time of the first sample, and what to tell about it."""
    given = context.options["rate"]
    if given is not None and not given > 0:
        raise LabError(f"--rate must be positive, not {given:g}")
    if time is None:
        note = (
            []
            if given
            else [f"{file.path} has no column of times: frequencies are in cycles a sample (--rate, --time)."]
        )
        return given or 1.0, "s" if given else "sample", 0.0, note
    first = next(file.chunks([time], context), None)
    if first is None or len(first) < FEWEST:
        raise LabError(f"{file.path} has {len(first) if first else 0} rows; at least {FEWEST} are needed")
    times, unit = _times(first, time)
    steps = np.diff(times)
    if not (steps > 0).all():
        row = first.first + int(np.argmin(steps > 0)) + 1
        raise LabError(f"{file.path}, row {row}: {time} must rise from row to row")
    return 1 / _step(times), unit, float(times[0]), []


def _step(times: Floats) -> float:
    """The step of the grid: the whole time over the number of steps, of which a gap holds several."""
    steps = np.diff(times)
    whole = np.maximum(np.round(steps / np.median(steps)), 1)
    return float((times[-1] - times[0]) / whole.sum())


def _times(chunk: Chunk, name: str) -> tuple[Floats, str]:
    """Times as numbers, and their unit: that of the column, or days where they are dates."""
    cells = chunk.text(name)
    try:
        return np.array(cells, dtype=np.float64), name
    except ValueError:
        pass
    try:
        return np.array([datetime.fromisoformat(cell.strip()).timestamp() for cell in cells]) / DAY, "day"
    except ValueError:
        bad = next(cell for cell in cells if not _is_time(cell))
        row = chunk.first + cells.index(bad)
        raise LabError(
            f"{chunk.path}, row {row}: {name} must be a number or a date like 2026-11-22, not {bad!r}"
        ) from None


def _is_time(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell.strip())
    except ValueError:
        return False
    return True


def _blocks(
    file: CsvFile, value: str, time: str | None, rate: float, unit: str, offset: float, context: Context
) -> Iterator[Floats]:
    """Values on an even grid, NaN where a time is missing."""
    if time is None:
        for chunk in file.chunks([value], context):
            yield chunk.numbers(value, missing=True)
        return
    following = 0
    for chunk in file.chunks([time, value], context):
        places = (_times(chunk, time)[0] - offset) * rate
        grid = np.round(places).astype(np.int64)
        wrong = (np.abs(places - grid) > UNEVEN) | (np.diff(grid, prepend=following - 1) < 1)
        if wrong.any():
            row = chunk.first + int(np.argmax(wrong))
            raise LabError(f"{file.path}, row {row}: the times are not evenly spaced (a step is {1 / rate:g} {unit})")
        if grid[-1] - following > 100 * len(grid) + MOST_SAMPLES:
            raise LabError(f"{file.path}, row {chunk.first}: a gap of {grid[-1] - following:,} samples is too long")
        block = np.full(int(grid[-1]) - following + 1, np.nan)
        block[grid - following] = chunk.numbers(value, missing=True)
        following = int(grid[-1]) + 1
        yield block
