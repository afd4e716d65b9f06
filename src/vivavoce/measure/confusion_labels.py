"""Labels that are probably wrong: the confident joint of given and true labels (Northcutt, Jiang and Chuang 2021).

It takes two passes over the data, `Thresholds` and then `ConfidentJoint`, and keeps C² numbers besides a list of the
most doubtful examples: the data need not fit in memory. The probabilities must be out of sample (cross-validated): a
model that has seen a wrong label has learned it, and hides it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

MOST_SUSPECTS = 1_000  # examples kept, the most doubtful ones
SUM_TOLERANCE = 1e-2  # by which the probabilities of an example may miss 1


@dataclass(frozen=True, order=True)
class Suspect:
    """An example whose label is probably wrong. `margin` is P(suggested) − P(given), 0 … 1."""

    margin: float
    row: int  # number of the example, from 0
    given: int
    suggested: int


class Thresholds:
    """First pass: how sure the model is of a class among the examples labelled with it, on average."""

    def __init__(self, classes: int) -> None:
        self._sums = np.zeros(classes)
        self._counts = np.zeros(classes, np.int64)

    def update(self, given: Labels, probabilities: Floats) -> None:
        """Take in given labels (n,) and probabilities (n, C). Raises ValueError for rows that do not sum to 1."""
        check_probabilities(probabilities, len(self._sums))
        np.add.at(self._sums, given, probabilities[np.arange(len(given)), given])
        np.add.at(self._counts, given, 1)

    def read(self) -> Floats:
        """The threshold of each class, shape (C,); infinite for one that no example is labelled with."""
        empty = self._counts == 0
        return np.where(empty, np.inf, self._sums / np.where(empty, 1, self._counts))


class ConfidentJoint:
    """Second pass: counts of (given label, label that the model is sure of), shape (C, C)."""

    def __init__(self, thresholds: Floats, most: int = MOST_SUSPECTS) -> None:
        """`thresholds` (C,) come from the first pass; `most` suspects are kept."""
        self._thresholds = thresholds
        self._most = most
        self._joint = np.zeros((len(thresholds), len(thresholds)), np.int64)
        self._given = np.zeros(len(thresholds), np.int64)
        self._suspects: list[Suspect] = []
        self._rows = 0
        self.suspected = 0  # off-diagonal examples, kept or not

    def update(self, given: Labels, probabilities: Floats) -> None:
        """Take in given labels (n,) and probabilities (n, C), in the order of the first pass."""
        sure = probabilities >= self._thresholds
        likely = np.where(sure, probabilities, -1.0).argmax(axis=1)
        confident = sure.any(axis=1)
        np.add.at(self._joint, (given[confident], likely[confident]), 1)
        np.add.at(self._given, given, 1)
        self._remember(np.flatnonzero(confident & (likely != given)), given, likely, probabilities)
        self._rows += len(given)

    def _remember(self, rows: NDArray[np.int64], given: Labels, likely: Labels, probabilities: Floats) -> None:
        self.suspected += len(rows)
        margins = probabilities[rows, likely[rows]] - probabilities[rows, given[rows]]
        best = np.argsort(-margins, kind="stable")[: self._most]
        for margin, row in zip(margins[best].tolist(), rows[best].tolist(), strict=True):
            suspect = Suspect(margin, self._rows + row, int(given[row]), int(likely[row]))
            if len(self._suspects) < self._most:
                heapq.heappush(self._suspects, suspect)
            else:
                heapq.heappushpop(self._suspects, suspect)

    @property
    def suspects(self) -> list[Suspect]:
        """The most doubtful examples, worst first."""
        return sorted(self._suspects, reverse=True)

    def joint(self) -> Floats:
        """The estimated distribution of (given, true) label, shape (C, C), summing to 1; its rows are calibrated

        to how often each label was given. A label that no example is sure of is taken to be right. NaN of no examples.
        """
        rows = self._joint.sum(axis=1, keepdims=True)
        shares = np.where(rows > 0, self._joint / np.maximum(rows, 1), np.eye(len(self._joint)))
        total = self._given.sum()
        joint: Floats = shares * self._given[:, None] / total if total else np.full(shares.shape, np.nan)
        return joint

    def noise(self) -> float:
        """The estimated share of wrong labels."""
        joint = self.joint()
        return float(joint.sum() - np.trace(joint))

    def noise_matrix(self) -> Floats:
        """The estimated chance that an example of true class i is labelled j, shape (C, C), rows summing to 1."""
        joint = self.joint().T
        sums = joint.sum(axis=1, keepdims=True)
        matrix: Floats = np.divide(joint, sums, out=np.eye(len(joint)), where=sums > 0)
        return matrix


def check_probabilities(probabilities: Floats, classes: int) -> None:
    """Raise ValueError unless probabilities have the shape (n, C), lie in [0, 1], and sum to 1 in each row."""
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise ValueError(f"probabilities (n, {classes}) are expected, got {probabilities.shape}")
    if not len(probabilities):
        return
    sums = probabilities.sum(axis=1)
    wrong = ~((np.abs(sums - 1) <= SUM_TOLERANCE) & (probabilities.min(axis=1) >= 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{int(wrong.sum()):,} rows are no probabilities: row {row + 1} sums to {sums[row]:.4g}")
