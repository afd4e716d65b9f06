"""Rules of order and of symmetry: values that may not fall, and values that must be alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vivavoce.measure.rules import Floats, Places, Rule


@dataclass(frozen=True, eq=False)
class MonotoneRule(Rule):
    """`values[places]` never fall where `along` rises, within each group; equal `along` leave each other free.

    `places` (n,), `along` (n,), `groups` (n,) of any sortable kind or None; `rising` False turns it round. An instance is a
    pair of neighbouring levels: the largest value of the lower one must not exceed the smallest of the upper one.
    Raises ValueError for shapes that differ and places that stand twice.
    """

    places: Places
    along: Floats
    groups: NDArray[Any] | None = None
    rising: bool = True

    def __post_init__(self) -> None:
        places, along = np.asarray(self.places, np.int64).ravel(), np.asarray(self.along, np.float64).ravel()
        groups = np.zeros(len(along), np.int64) if self.groups is None else np.asarray(self.groups).ravel()
        if not len(places) == len(along) == len(groups):
            raise ValueError(f"places, along and groups have {len(places)}, {len(along)} and {len(groups)} entries")
        if len(np.unique(places)) < len(places) or not np.isfinite(along).all():
            raise ValueError("no place may stand twice, and what the values rise along must be finite")
        codes = np.unique(groups, return_inverse=True)[1]
        order = np.lexsort((along, codes))
        for name, value in (("places", places[order]), ("along", along[order]), ("groups", codes[order])):
            object.__setattr__(self, name, value)

    @cached_property
    def chains(self) -> Places:
        """Where each group begins among `places`, which are sorted by group and `along`."""
        return np.flatnonzero(np.diff(self._codes, prepend=-1))

    @cached_property
    def levels(self) -> Places:
        """Where each level begins: values of one group and one `along`."""
        new = np.diff(self.along, prepend=np.nan) != 0
        new[self.chains] = True
        return np.flatnonzero(new)

    @cached_property
    def joined(self) -> Places:
        """Numbers of the levels that have a lower neighbour in their group, the one before them."""
        return np.flatnonzero(~np.isin(self.levels, self.chains))

    @property
    def _codes(self) -> Places:
        assert self.groups is not None
        return self.groups

    @property
    def size(self) -> int:
        """Pairs of neighbouring levels."""
        return len(self.joined)

    @property
    def reach(self) -> int:
        """One more than the highest place."""
        return int(self.places.max(initial=-1)) + 1

    def broken_by(self, values: Floats) -> Floats:
        """By how much each level begins below the end of the one before it."""
        if not len(self.places):
            return np.zeros(0)
        y = values[self.places] if self.rising else -values[self.places]
        top, bottom = np.maximum.reduceat(y, self.levels), np.minimum.reduceat(y, self.levels)
        return np.asarray(np.maximum(0.0, top[self.joined - 1] - bottom[self.joined]))

    def nearest(self, values: Floats) -> Floats:
        """Isotonic regression by pooling adjacent violators, the values of a level sorted first.

        Sorting within a level is what its freedom amounts to: de Leeuw, *Correctness of Kruskal's algorithms for
        monotone regression with ties*, Psychometrika 42 (1977).
        """
        y = values[self.places] if self.rising else -values[self.places]
        level = np.zeros(len(y), np.int64)
        level[self.levels] = 1
        order = np.lexsort((y, np.cumsum(level)))  # levels of a group follow one another
        fitted = np.empty(len(y))
        for rows in np.split(order, self.chains[1:]):
            fitted[rows] = _pooled(y[rows])
        moved = values.copy()
        moved[self.places] = fitted if self.rising else -fitted
        return moved


def _pooled(y: Floats) -> Floats:
    """The non-decreasing sequence nearest to `y` (n,): pool adjacent violators, each block at its mean."""
    if (np.diff(y) >= 0).all():
        return y
    means: list[float] = []
    sizes: list[int] = []
    for value in y.tolist():
        mean, size = value, 1
        while means and means[-1] > mean:
            before, count = means.pop(), sizes.pop()
            mean, size = (mean * size + before * count) / (size + count), size + count
        means.append(mean)
        sizes.append(size)
    return np.repeat(np.array(means), sizes)


@dataclass(frozen=True, eq=False)
class SymmetryRule(Rule):
    """Values of one orbit are equal up to a sign: `values[places] = signs * m`, one m for each orbit.

    `places` (n,), `orbits` (n,) of any sortable kind, `signs` (n,) of 1, -1 or 0, or None for all 1: 1 and -1 make
    f(a, b) = -f(b, a), 0 makes f(a, a) = 0. An instance is a value. Raises ValueError for shapes that differ.
    """

    places: Places
    orbits: NDArray[Any]
    signs: Floats | None = None

    def __post_init__(self) -> None:
        places, orbits = np.asarray(self.places, np.int64).ravel(), np.asarray(self.orbits).ravel()
        signs = np.ones(len(places)) if self.signs is None else np.asarray(self.signs, np.float64).ravel()
        if not len(places) == len(orbits) == len(signs):
            raise ValueError(f"places, orbits and signs have {len(places)}, {len(orbits)} and {len(signs)} entries")
        if len(np.unique(places)) < len(places) or not np.isin(signs, (-1.0, 0.0, 1.0)).all():
            raise ValueError("no place may stand twice, and a sign is 1, -1 or 0")
        codes = np.unique(orbits, return_inverse=True)[1] if len(orbits) else np.zeros(0, np.int64)
        for name, value in (("places", places), ("orbits", codes), ("signs", signs)):
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """Values."""
        return len(self.places)

    @property
    def reach(self) -> int:
        """One more than the highest place."""
        return int(self.places.max(initial=-1)) + 1

    @cached_property
    def counts(self) -> Floats:
        """Σ signs² of each orbit, 1 where all are 0."""
        sums = np.bincount(self.orbits, self.sign**2)
        return np.where(sums > 0, sums, 1.0)

    @property
    def sign(self) -> Floats:
        """The sign of each value."""
        assert self.signs is not None
        return self.signs

    def _fitted(self, values: Floats) -> Floats:
        mean = np.bincount(self.orbits, self.sign * values[self.places]) / self.counts
        return np.asarray(self.sign * mean[self.orbits])

    def broken_by(self, values: Floats) -> Floats:
        """The distance of each value from what its orbit says."""
        away: Floats = np.abs(values[self.places] - self._fitted(values)) if self.size else np.zeros(0)
        return away

    def nearest(self, values: Floats) -> Floats:
        """The mean of each orbit: an orthogonal projection."""
        moved = values.copy()
        if self.size:
            moved[self.places] = self._fitted(values)
        return moved
