"""The averaged spectrum of a signal that need not fit in memory (Welch 1967)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.measure.spectrum_transform import Floats, checked_signal, hann


class AveragedSpectrum:
    """The mean power spectrum of frames of `length` samples under a Hann window, overlapping by half.

    Feed it pieces of any length; it keeps one frame. Raises ValueError for a length below 2 or an odd one, and for a
    rate that is not positive.
    """

    def __init__(self, rate: float = 1.0, length: int = 4096) -> None:
        if length < 2 or length % 2:
            raise ValueError(f"the length of a frame is an even number of samples from 2 on, not {length}")
        if not rate > 0:
            raise ValueError(f"the rate must be positive, not {rate}")
        self.rate = rate
        self.length = length
        self.frames = 0
        self._window = hann(length)
        self._sum = np.zeros(length // 2 + 1)
        self._rest = np.zeros(0)

    def update(self, samples: ArrayLike) -> None:
        """Take in the next samples (n,). Raises ValueError for another shape and samples that are not finite."""
        values = np.concatenate([self._rest, checked_signal(samples, fewest=0)])
        hop = self.length // 2
        count = max((len(values) - self.length) // hop + 1, 0)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(values, self.length)[: count * hop : hop]
            frames = frames - frames.mean(axis=1, keepdims=True)
            power = np.abs(np.fft.rfft(frames * self._window, axis=1)) ** 2
            self._sum += power.sum(axis=0)
            self.frames += count
        self._rest = values[count * hop :].copy()

    def read(self) -> tuple[Floats, Floats]:
        """Frequencies and power density (signal² per hertz), each (length // 2 + 1,); the means of frames are removed.

        Raises ValueError before the first whole frame.
        """
        if not self.frames:
            raise ValueError(f"fewer than {self.length} samples were given")
        density = (self._sum / (self.frames * self.rate * float(self._window @ self._window))).astype(np.float64)
        density[1:-1] *= 2
        frequencies = np.arange(self.length // 2 + 1, dtype=np.float64) * (self.rate / self.length)
        return frequencies, density
