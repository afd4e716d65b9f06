"""The gradient noise scale: how large a batch has to be before its gradient is mostly signal.

B_noise = tr Σ / ‖G‖², with G the true gradient and Σ the covariance of one example's (McCandlish et al. 2018, "An
empirical model of large-batch training", section 2.2 and appendix A.1). It is estimated from an ordinary run whose
batches are differentiated in chunks: the chunks' gradients scatter around their mean by Σ, and products of two
different chunks' gradients have the expectation ‖G‖². Batches are taken as drawn from a population: within one pass
over a data set of n examples, without replacement, ‖G‖² is underestimated by tr Σ/(n − 1), a share B_noise/n of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FEWEST_LAGS = 3  # products with earlier gradients: fewer say too little of their own spread
AGREE = 3.0  # standard errors by which they may differ from the chunks' products: else the weights moved too fast
Z90 = 1.645  # standard deviations of a two-sided 90 % interval of a normal variable


@dataclass(frozen=True)
class NoiseEstimate:
    """Estimate of tr Σ (`noise`), ‖G‖² (`signal`) and their ratio, in examples, with a 90 % interval.

    `scale` and `high` are infinite where the signal drowns: then only `low` is known.
    """

    noise: float
    signal: float
    low: float
    high: float
    steps: int

    @property
    def scale(self) -> float:
        """B_noise in examples."""
        return self.noise / self.signal if self.signal > 0 else float("inf")


class NoiseScale:
    """Collects the chunks' gradient norms of a run. Holds three numbers a step that is taken in."""

    def __init__(self) -> None:
        self._noise: list[float] = []
        self._signal: list[float] = []
        self._lag: list[float] = []

    def update(
        self, chunk_squares: Sequence[float], mean_square: float, batch: int, lag_product: float = float("nan")
    ) -> None:
        """Take one step in.

        `chunk_squares` (c,) are ‖g_j‖² of the mean gradients of c chunks of equal size; `mean_square` is ‖Σg_j/c‖²;
        `batch` the examples of all chunks together; `lag_product` is that of the mean gradient with the mean of the
        gradients of the steps before, where it is known: ‖G‖² too, and far less noisy. Steps that are not finite are left out. Raises ValueError for fewer
        than two chunks and for a batch that they do not divide.
        """
        chunks = len(chunk_squares)
        if chunks < 2 or batch % chunks:
            raise ValueError(f"a batch of {batch} does not fall into {chunks} equal chunks; at least two are needed")
        small = float(np.mean(chunk_squares))
        noise = (small - mean_square) * batch / (chunks - 1)
        signal = (chunks * mean_square - small) / (chunks - 1)
        if np.isfinite(noise) and np.isfinite(signal):
            self._noise.append(noise)
            self._signal.append(signal)
            self._lag.append(lag_product)

    def estimate(self) -> NoiseEstimate:
        """The estimate over all steps so far. Raises ValueError before the second step."""
        if len(self._noise) < 2:
            raise ValueError("at least two steps are needed")
        noise, signal = np.asarray(self._noise), np.asarray(self._signal)
        noise, signal = _with_lags(noise, signal, np.asarray(self._lag))
        ratio_low, ratio_high = _ratio_interval(noise, signal)
        return NoiseEstimate(float(noise.mean()), float(signal.mean()), ratio_low, ratio_high, len(noise))


def _with_lags(noise: Floats, signal: Floats, lag: Floats) -> tuple[Floats, Floats]:
    """The steps with a lag product, and it for their signal, where both kinds of product agree; else all as they are.

    Earlier gradients belong to earlier weights: where those have moved far, the product is not ‖G‖².
    """
    known = np.isfinite(lag)
    if known.sum() < FEWEST_LAGS:
        return noise, signal
    apart = lag[known] - signal[known]
    error = float(apart.std(ddof=1)) / np.sqrt(len(apart))
    return (noise[known], lag[known]) if abs(float(apart.mean())) <= AGREE * error else (noise, signal)


def _ratio_interval(noise: Floats, signal: Floats) -> tuple[float, float]:
    """90 % interval of mean noise / mean signal, by Fieller's theorem (1954).

    The variances come from successive differences, so that the course of both during the training does not count as
    uncertainty (von Neumann 1941).
    """
    a, b = float(noise.mean()), float(signal.mean())
    n = len(noise)
    da, db = np.diff(noise), np.diff(signal)
    va, vb, vab = (float(np.mean(u * v)) / (2 * n) for u, v in ((da, da), (db, db), (da, db)))
    # Ratios r with (a − r b)² ≤ z² (va − 2 r vab + r² vb): a quadratic in r.
    square, linear, constant = b * b - Z90**2 * vb, a * b - Z90**2 * vab, a * a - Z90**2 * va
    root = linear * linear - square * constant
    if root < 0:
        return 0.0, float("inf")
    if square <= 0:  # the signal may be zero: no upper end
        low = constant / (linear + np.sqrt(root)) if linear + np.sqrt(root) > 0 else 0.0
        return max(0.0, float(low)), float("inf")
    return max(0.0, float((linear - np.sqrt(root)) / square)), float((linear + np.sqrt(root)) / square)


def noise_scale(gradients: ArrayLike, batch: int) -> NoiseEstimate:
    """The estimate from the chunks' gradients of a run: shape (steps, chunks, parameters), `batch` examples a step."""
    values = np.asarray(gradients, dtype=np.float64)
    if values.ndim != 3:
        raise ValueError(f"gradients must have shape (steps, chunks, parameters), not {values.shape}")
    collector = NoiseScale()
    for step in values:
        collector.update(np.sum(step**2, axis=1).tolist(), float(np.sum(step.mean(axis=0) ** 2)), batch)
    return collector.estimate()


def exact_noise_scale(example_gradients: ArrayLike) -> tuple[float, float]:
    """tr Σ and ‖G‖² of all examples' gradients (n, parameters), taken as the whole population."""
    values = np.asarray(example_gradients, dtype=np.float64)
    mean = values.mean(axis=0)
    return float(np.mean(np.sum((values - mean) ** 2, axis=1))), float(mean @ mean)
