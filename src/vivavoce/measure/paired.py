"""Is one model better than another? Paired comparisons of their losses, with an interval.

Two questions that are often mixed up: of two trained *models* on new examples (`paired_bootstrap` of the losses of the
same examples), and of two *ways to make* a model on new data (`corrected_t` of the mean losses on repeated splits).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.measure.student import quantile, two_sided_p

Floats = NDArray[np.float64]

LEVEL = 0.95
SAMPLES = 2_000  # resamples: the ends of a 95 % interval are then known to about a tenth of a standard error
CELLS = 4_000_000  # of a table of resamples held at a time: 32 MB


@dataclass(frozen=True)
class Difference:
    """A mean difference, the ends of its interval, and the two-sided p-value of "there is none".

    In the unit of the losses; negative where the first of two is the better one.
    """

    mean: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def corrected_t(differences: ArrayLike, test_share: float, level: float = LEVEL) -> Difference:
    """The mean of `differences` (splits,), one for each split of the same data, by Nadeau and Bengio's corrected t test.

    Each is the mean test loss of the one less that of the other. The splits' training sets overlap, so their results
    are not independent: the variance of the mean is (1/J + n_test/n_train)·s² rather than s²/J (Nadeau & Bengio 2003,
    "Inference for the generalization error", section 5). `test_share` is n_test/n_train: 1/(K − 1) for K folds. Raises
    ValueError for fewer than two splits, values that are not finite, and a share that is not positive.
    """
    values = _checked(differences, "splits")
    if not test_share > 0:
        raise ValueError(f"test_share must be positive (n_test/n_train), not {test_share}")
    error = math.sqrt((1 / len(values) + test_share) * float(values.var(ddof=1)))
    mean, freedom = float(values.mean()), len(values) - 1
    margin = quantile((1 + level) / 2, freedom) * error
    return Difference(mean, mean - margin, mean + margin, _p(mean, error, freedom))


def _p(mean: float, error: float, freedom: int) -> float:
    if error == 0:
        return float(mean == 0)
    return two_sided_p(mean / error, freedom)


def paired_bootstrap(
    differences: ArrayLike,
    random: np.random.Generator,
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
) -> Difference:
    """The mean of the `differences` (n,) of two models' losses on the same examples, by the bootstrap-t.

    Each resample's mean is studentised with its own standard deviation (Efron & Tibshirani 1993, section 12.5), which
    keeps the level where losses are skew, as a plain percentile interval does not. Raises ValueError for fewer than two
    examples and values that are not finite.
    """
    values = _checked(differences, "examples")
    n, mean, spread = len(values), float(values.mean()), float(values.std(ddof=1))
    error = spread / math.sqrt(n)
    if error == 0:
        return Difference(mean, mean, mean, float(mean == 0))
    studentised = _studentised((values - mean) / spread, random, samples)
    return _bootstrap_t(mean, error, studentised, level)


def _bootstrap_t(mean: float, error: float, studentised: Floats, level: float) -> Difference:
    """Interval and p-value from the t of resamples, both with equal tails: they agree where losses are skew."""
    low, high = np.quantile(studentised, [(1 - level) / 2, (1 + level) / 2])
    t = mean / error
    tail = min(int(np.sum(studentised >= t)), int(np.sum(studentised <= t)))
    p = min(1.0, 2 * (1 + tail) / (len(studentised) + 1))
    return Difference(mean, mean - float(high) * error, mean - float(low) * error, p)


def _studentised(values: Floats, random: np.random.Generator, samples: int) -> Floats:
    """t = mean/(s/√n) of resamples of `values` (n,), which have the mean 0: (samples,). A resample of equal values is 0."""
    n = len(values)
    parts = []
    for begin in range(0, samples, step := max(1, CELLS // n)):
        drawn = values[random.integers(0, n, (min(step, samples - begin), n))]
        spread = drawn.std(axis=1, ddof=1)
        mean = drawn.mean(axis=1)
        parts.append(np.divide(mean * math.sqrt(n), spread, out=np.zeros_like(mean), where=spread > 0))
    return np.concatenate(parts)


def gap_bootstrap(
    training: ArrayLike,
    validation: ArrayLike,
    random: np.random.Generator,
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
) -> Difference:
    """The generalisation gap: the mean of `validation` (m,) losses less that of `training` (n,) losses, by the bootstrap-t.

    The examples of the two are different ones, so each is resampled by itself. Raises ValueError as `paired_bootstrap`.
    """
    first, second = _checked(training, "training examples"), _checked(validation, "validation examples")
    mean = float(second.mean() - first.mean())
    variance = float(second.var(ddof=1) / len(second) + first.var(ddof=1) / len(first))
    if variance == 0:
        return Difference(mean, mean, mean, float(mean == 0))
    drawn = [_moments(part - part.mean(), random, samples) for part in (second, first)]
    spread = np.sqrt(drawn[0][1] + drawn[1][1])
    moved = drawn[0][0] - drawn[1][0]
    studentised = np.divide(moved, spread, out=np.zeros_like(moved), where=spread > 0)
    return _bootstrap_t(mean, math.sqrt(variance), studentised, level)


def _moments(values: Floats, random: np.random.Generator, samples: int) -> tuple[Floats, Floats]:
    """Mean, and variance of the mean, of resamples of `values` (n,): two arrays (samples,)."""
    n = len(values)
    means, variances = [], []
    for begin in range(0, samples, step := max(1, CELLS // n)):
        drawn = values[random.integers(0, n, (min(step, samples - begin), n))]
        means.append(drawn.mean(axis=1))
        variances.append(drawn.var(axis=1, ddof=1) / n)
    return np.concatenate(means), np.concatenate(variances)


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's adjusted p-values (k,): those at most α may all be called significant, with an error of α for the family.

    The i-th smallest is multiplied by k − i + 1, and none is smaller than one before it (Holm 1979).
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


def _checked(values: ArrayLike, what: str) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"at least two {what} are needed, one number each, got an array of shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{int((~np.isfinite(found)).sum())} of {len(found)} {what} have a value that is not finite")
    return found
