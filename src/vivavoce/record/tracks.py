"""Recorded signals as arrays, the same for a live run and for a store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Track:
    """A recorded signal: n rows of k numbers.

    Older rows may stand for many recorded ones: then `mean`, `minimum` and `maximum` are over their finite values
    (NaN where none was finite), `counts` says how many rows, and `nonfinite` how many values were NaN or infinite.
    A row of count 1 holds the value as it was recorded, NaN and infinities included.

    Shapes: `steps` (n,), the last step a row stands for, non-decreasing; `counts` (n,); `mean`, `minimum`,
    `maximum`, `nonfinite` (n, k).
    """

    name: str
    owner: tuple[str, int] | None  # (entity kind, id)
    columns: tuple[str | int, ...]
    steps: Integers
    counts: Integers
    mean: Floats
    minimum: Floats
    maximum: Floats
    nonfinite: Integers

    def __len__(self) -> int:
        return len(self.steps)

    def column(self, label: str | int) -> Series:
        """The series of one column. Raises KeyError for a label that is not in `columns`."""
        try:
            index = self.columns.index(label)
        except ValueError:
            raise KeyError(f"{self.name} has no column {label!r}; it has {list(self.columns)}") from None
        return Series(
            self.steps,
            self.counts,
            self.mean[:, index],
            self.minimum[:, index],
            self.maximum[:, index],
            self.nonfinite[:, index],
        )


@dataclass(frozen=True)
class Series:
    """One column of a `Track`; every array has shape (n,)."""

    steps: Integers
    counts: Integers
    mean: Floats
    minimum: Floats
    maximum: Floats
    nonfinite: Integers

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def finite(self) -> Series:
        """The rows whose mean is finite."""
        return self.where(np.isfinite(self.mean))

    def where(self, keep: NDArray[np.bool_]) -> Series:
        """The rows selected by a boolean array of shape (n,)."""
        return Series(*(getattr(self, name)[keep] for name in _SERIES_FIELDS))

    @property
    def first_nonfinite(self) -> int | None:
        """The step of the first row that holds a NaN or an infinity."""
        rows = np.flatnonzero(self.nonfinite)
        return int(self.steps[rows[0]]) if len(rows) else None


_SERIES_FIELDS = ("steps", "counts", "mean", "minimum", "maximum", "nonfinite")


def _empty() -> Series:
    integers, floats = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
    return Series(integers, integers, floats, floats, floats, integers)


EMPTY = _empty()
