"""Losses of single examples, and the scores that are made of them.

Per-example losses rather than one score are what two models can be compared by, in pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def log_losses(labels: ArrayLike, probabilities: ArrayLike, smallest: float = np.finfo(np.float64).eps) -> Floats:
    """−ln of the probability of each example's class, in nats: (n,).

    `labels` (n,) are class numbers, `probabilities` (n, classes). Probabilities below `smallest` count as that much.
    Raises ValueError for shapes that do not match, labels out of range and rows that do not sum to 1.
    """
    classes, given = _checked_classes(labels, probabilities)
    own = given[np.arange(len(given)), classes]
    losses: Floats = -np.log(np.clip(own, smallest, 1.0))
    return losses


def brier_losses(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Squared distance between the probabilities (n, classes) and the indicator of the class: (n,), from 0 to 2 (Brier 1950)."""
    classes, given = _checked_classes(labels, probabilities)
    wanted = np.zeros_like(given)
    wanted[np.arange(len(given)), classes] = 1
    losses: Floats = np.sum((given - wanted) ** 2, axis=1)
    return losses


def zero_one_losses(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """1 where the most probable class is not the example's own, else 0: (n,). Of equal ones the first counts."""
    classes, given = _checked_classes(labels, probabilities)
    losses: Floats = (given.argmax(axis=1) != classes).astype(np.float64)
    return losses


def squared_losses(targets: ArrayLike, predictions: ArrayLike) -> Floats:
    """(target − prediction)² of each example: (n,)."""
    wanted, given = _checked_numbers(targets, predictions)
    losses: Floats = (wanted - given) ** 2
    return losses


def absolute_losses(targets: ArrayLike, predictions: ArrayLike) -> Floats:
    """|target − prediction| of each example: (n,)."""
    wanted, given = _checked_numbers(targets, predictions)
    losses: Floats = np.abs(wanted - given)
    return losses


def r_squared(targets: ArrayLike, predictions: ArrayLike) -> float:
    """The share of the targets' variance that the predictions explain: 1 is perfect, 0 is their mean, below it worse.

    NaN where all targets are the same.
    """
    wanted, given = _checked_numbers(targets, predictions)
    total = float(np.sum((wanted - wanted.mean()) ** 2))
    return 1 - float(np.sum((wanted - given) ** 2)) / total if total else float("nan")


def roc_auc(positive: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: how often a positive example has a higher score than another, ties counting half.

    `positive` (n,) is true or false. From the ranks (Mann & Whitney 1947). NaN where one of the classes does not occur.
    """
    yes = np.asarray(positive, dtype=bool)
    values = np.asarray(scores, dtype=np.float64)
    if yes.shape != values.shape or yes.ndim != 1:
        raise ValueError(f"positive and scores must have one shape (n,), got {yes.shape} and {values.shape}")
    many, few = int(yes.sum()), int((~yes).sum())
    if not many or not few:
        return float("nan")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[yes].sum() - many * (many + 1) / 2) / (many * few))


def _checked_classes(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Labels, Floats]:
    classes, given = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 2 or classes.shape != given.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"labels (n,) of whole numbers and probabilities (n, classes) are expected, got {classes.shape} and {given.shape}")  # fmt: skip
    if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < given.shape[1]:
        raise ValueError(f"labels lie in {classes.min()} … {classes.max()}, but there are {given.shape[1]} classes")
    if not np.allclose(given.sum(axis=1), 1, atol=1e-5) or (given < 0).any():
        raise ValueError("each row of probabilities must sum to 1")
    return classes.astype(np.int64), given


def _checked_numbers(targets: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    wanted, given = np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if wanted.shape != given.shape or wanted.ndim != 1:
        raise ValueError(f"targets and predictions must have one shape (n,), got {wanted.shape} and {given.shape}")
    return wanted, given
