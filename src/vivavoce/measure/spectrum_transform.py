"""The discrete Fourier transform of a real signal: amplitudes and phases, its inverse from the strongest parts, frames.

Arrays are transformed with NumPy; tensors where they lie, by `spectrum_torch`, imported only when a tensor is given.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
Window = Literal["none", "hann"]
WINDOWS: tuple[Window, ...] = ("none", "hann")


@dataclass(frozen=True)
class Spectrum:
    """One side of a spectrum, m = n // 2 + 1 frequencies from 0 to half the rate; arrays, or tensors for a tensor.

    `amplitude` (m,) is that of a cosine whose frequency lies on a bin; `phase` (m,) its phase at the first sample, in
    radians. `coefficients` (m,) are those of numpy.fft.rfft of the windowed signal.
    """

    frequencies: Any
    coefficients: Any
    amplitude: Any
    phase: Any


def hann(length: int) -> Floats:
    """The periodic Hann window (length,), which is 0 at the first sample."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def checked_signal(signal: ArrayLike, fewest: int = 2, gaps: bool = False) -> Floats:
    """A signal (n,) in float64. Raises ValueError for another shape, too few samples, infinities, and NaN unless `gaps`."""
    values = np.asarray(signal)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise ValueError(f"a signal of real numbers (n,) is expected, got {values.dtype} {values.shape}")
    if len(values) < fewest:
        raise ValueError(f"at least {fewest} samples are needed, not {len(values)}")
    values = values.astype(np.float64)
    bad = np.isinf(values) if gaps else ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum()):,} of {len(values):,} samples are not finite, the first is number {int(bad.argmax())}"
        )
    return values


def spectrum(signal: Any, rate: float = 1.0, window: Window = "none") -> Spectrum:
    """The spectrum of a signal (n,) that was sampled `rate` times a second.

    Raises ValueError for a signal that is none, an unknown window, and a rate that is not positive.
    """
    if window not in WINDOWS:
        raise ValueError(f"{window!r} is none of {', '.join(WINDOWS)}")
    if not rate > 0:
        raise ValueError(f"the rate must be positive, not {rate}")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(signal, torch.Tensor):
        return Spectrum(*import_module("vivavoce.measure.spectrum_torch").transformed(signal, rate, window))
    values = checked_signal(signal)
    weights = hann(len(values)) if window == "hann" else np.ones(len(values))
    coefficients = np.fft.rfft(values * weights)
    amplitude = np.abs(coefficients) * _sides(len(values)) / weights.sum()
    return Spectrum(np.fft.rfftfreq(len(values), 1 / rate), coefficients, amplitude, np.angle(coefficients))


def _sides(n: int) -> Floats:
    """How many of the two sides of the spectrum a coefficient stands for: 1 at 0 and at half the rate, else 2."""
    sides = np.full(n // 2 + 1, 2.0)
    sides[0] = 1.0
    if n % 2 == 0:
        sides[-1] = 1.0
    return sides


def strongest(signal: ArrayLike, count: int) -> tuple[Floats, float]:
    """The signal (n,) rebuilt from its mean and the `count` strongest frequencies, and the share of variance they hold.

    The share is 1 for a constant. Raises ValueError for a negative count.
    """
    if count < 0:
        raise ValueError(f"a number of frequencies cannot be negative: {count}")
    values = checked_signal(signal)
    coefficients = np.fft.rfft(values)
    energy = np.abs(coefficients) ** 2 * _sides(len(values))
    energy[0] = 0.0
    kept = np.argsort(-energy, kind="stable")[: min(count, len(energy) - 1)]
    some = np.zeros_like(coefficients)
    some[0], some[kept] = coefficients[0], coefficients[kept]
    total = float(energy.sum())
    share = float(energy[kept].sum()) / total if total > 0 else 1.0
    return np.fft.irfft(some, len(values)), share


@dataclass(frozen=True)
class Frames:
    """A spectrogram: times (t,) of the middles of frames in seconds, frequencies (f,), amplitudes (f, t)."""

    times: Floats
    frequencies: Floats
    amplitude: Floats


def spectrogram(signal: ArrayLike, rate: float = 1.0, length: int = 1024, most: int = 400) -> Frames:
    """The spectra of frames of `length` samples under a Hann window, overlapping by half; at most `most` of them.

    Frames are left out evenly where there would be more. Raises ValueError for a signal shorter than a frame.
    """
    values = checked_signal(signal, fewest=length)
    starts = np.arange(0, len(values) - length + 1, max(length // 2, 1))
    if len(starts) > most:
        starts = starts[np.linspace(0, len(starts) - 1, most).round().astype(int)]
    weights = hann(length)
    frames = np.stack([values[start : start + length] * weights for start in starts])
    amplitude = (np.abs(np.fft.rfft(frames, axis=1)) * _sides(length) / weights.sum()).astype(np.float64)
    times: Floats = (starts.astype(np.float64) + length / 2) / rate
    frequencies = np.fft.rfftfreq(length, 1 / rate).astype(np.float64)
    return Frames(times, frequencies, amplitude.T)


def learned(prediction: ArrayLike, target: ArrayLike, bins: ArrayLike) -> Floats:
    """How much of the target's part at each frequency a prediction has: 0 nothing, 1 all of it in phase, shape of `bins`.

    Both are sampled evenly over whole periods, shape (n,); `bins` are cycles over the whole. Raises ValueError where
    the target has nothing at a frequency.
    """
    ours, wanted = (np.fft.rfft(checked_signal(part))[np.asarray(bins)] for part in (prediction, target))
    power = np.abs(wanted) ** 2
    if (power == 0).any():
        raise ValueError("the target has no part at one of the frequencies")
    shares: Floats = np.real(ours * np.conj(wanted)) / power
    return shares
