"""Folds for cross-validation, with each class in every fold as often as in the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int64]


def stratified_folds(labels: ArrayLike, folds: int, random: np.random.Generator) -> Labels:
    """The fold, 0 … folds − 1, of each example: (n,).

    Shuffled within each class and dealt out like cards, class after class: the folds' sizes differ by at most one, and
    so do the numbers of each class in them. For numbers to predict, pass the same label for all. Raises ValueError for
    fewer than two folds or fewer examples than folds.
    """
    classes = np.asarray(labels)
    if folds < 2 or len(classes) < folds:
        raise ValueError(f"{len(classes)} examples cannot be split into {folds} folds")
    order = np.argsort(random.permutation(len(classes)), kind="stable")
    order = order[np.argsort(classes[order], kind="stable")]
    numbers = random.permutation(folds)
    found = np.empty(len(classes), np.int64)
    found[order] = numbers[np.arange(len(classes)) % folds]
    return found
