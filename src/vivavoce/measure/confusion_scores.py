"""What a confusion matrix says: rates with intervals, normalisations, the pairs that are confused most."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.measure.confusion import ConfusionMatrix, Counts

Floats = NDArray[np.float64]
Normalisation = Literal["none", "real", "predicted", "all"]
NORMALISATIONS: dict[Normalisation, str] = {
    "none": "counts",
    "real": "share of the real class: rows sum to 1, the diagonal is recall",
    "predicted": "share of the predicted class: columns sum to 1, the diagonal is precision",
    "all": "share of all examples: everything sums to 1",
}
LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Rate:
    """Shares of shape (k,), NaN where nothing was counted, and the ends of their intervals."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Scores:
    """The scores of a matrix of C classes; the rates of shape (C,), `accuracy` of shape (1,).

    `support` and `predicted` are how often a class is real and predicted, shape (C,). Of a class that never occurs
    recall is NaN, of one never predicted precision; the means over classes leave those out.
    """

    precision: Rate
    recall: Rate
    f1: Rate
    accuracy: Rate
    support: Counts
    predicted: Counts
    balanced_accuracy: float  # mean recall of the classes that occur
    macro_f1: float
    kappa: float  # Cohen 1960
    matthews: float  # Gorodkin 2004


@dataclass(frozen=True)
class Confusion:
    """A pair of classes: `count` examples of `real` were taken for `predicted`, `share` of the real class."""

    real: int
    predicted: int
    count: int
    share: float


def wilson(successes: ArrayLike, trials: ArrayLike, level: float = LEVEL) -> Rate:
    """Shares and Wilson's score intervals (Wilson 1927), of any shapes that broadcast; [0, 1] of no trials.

    Raises ValueError for a level outside (0, 1) and more successes than trials.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not {level}")
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    if (k > n).any() or (k < 0).any():
        raise ValueError("there cannot be fewer successes than none or more than trials")
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (np.divide(k * (n - k), n, out=np.zeros(n.shape), where=n > 0) + z2 / 4)) / (n + z2)
    value = np.divide(k, n, out=np.full(n.shape, np.nan), where=n > 0)
    low = np.where(k == 0, 0.0, centre - half)
    high = np.where(k == n, 1.0, centre + half)
    return Rate(value, np.clip(low, 0, 1), np.clip(high, 0, 1))


def scores(matrix: ConfusionMatrix, level: float = LEVEL) -> Scores:
    """All scores of a matrix.

    The interval of F1 is that of the Jaccard index TP / (TP + FP + FN), a binomial share given its denominator,
    carried through the rising function F1 = 2J / (1 + J).
    """
    counts = matrix.counts
    hits, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    jaccard = wilson(hits, support + predicted - hits, level)
    f1 = Rate(*(2 * part / (1 + part) for part in (jaccard.value, jaccard.low, jaccard.high)))
    recall = wilson(hits, support, level)
    return Scores(
        precision=wilson(hits, predicted, level),
        recall=recall,
        f1=f1,
        accuracy=wilson([hits.sum()], [counts.sum()], level),
        support=support,
        predicted=predicted,
        balanced_accuracy=_mean(recall.value),
        macro_f1=_mean(f1.value),
        kappa=_kappa(counts),
        matthews=_matthews(counts),
    )


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("nan")


def _kappa(counts: Counts) -> float:
    """Agreement beyond that of chance with the same margins; NaN where chance alone agrees fully."""
    total = float(counts.sum())
    if total == 0:
        return float("nan")
    chance = float(counts.sum(axis=1) @ (counts.sum(axis=0) / total)) / total
    return _ratio(float(np.trace(counts)) / total - chance, 1 - chance)


def _matthews(counts: Counts) -> float:
    """Correlation of real and predicted classes; NaN where one of them never varies."""
    total = float(counts.sum())
    real, predicted = (counts.sum(axis=axis).astype(np.float64) for axis in (1, 0))
    covariance = float(np.trace(counts)) * total - float(real @ predicted)
    spreads = (total**2 - float(real @ real)) * (total**2 - float(predicted @ predicted))
    return _ratio(covariance, float(np.sqrt(max(spreads, 0.0))))


def normalised(matrix: ConfusionMatrix, by: Normalisation = "real") -> Floats:
    """The matrix (C, C) as shares of the real class, the predicted class, or all; NaN where a sum is 0.

    Raises ValueError for another word.
    """
    if by not in NORMALISATIONS:
        raise ValueError(f"{by!r} is none of {', '.join(NORMALISATIONS)}")
    counts = matrix.counts.astype(np.float64)
    if by == "none":
        return counts
    sums = counts.sum(axis={"real": 1, "predicted": 0, "all": None}[by], keepdims=True)
    sums = np.broadcast_to(sums, counts.shape)
    shares: Floats = np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)
    return shares


def top_confusions(matrix: ConfusionMatrix, most: int = 10) -> list[Confusion]:
    """The pairs of different classes with the most examples, largest first; pairs of none are left out."""
    counts = matrix.counts.copy()
    np.fill_diagonal(counts, 0)
    support = matrix.counts.sum(axis=1)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(counts)) for cell in order if counts.flat[cell]]
    return [Confusion(i, j, int(counts[i, j]), float(counts[i, j] / support[i])) for i, j in pairs]


def never_predicted(matrix: ConfusionMatrix) -> list[int]:
    """The classes that occur but are never predicted."""
    counts = matrix.counts
    return np.flatnonzero((counts.sum(axis=1) > 0) & (counts.sum(axis=0) == 0)).tolist()
