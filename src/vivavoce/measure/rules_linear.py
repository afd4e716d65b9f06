"""Comparisons and sums: rules that are linear in the values, and implications between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.measure.rules import Floats, Places, Rule


@dataclass(frozen=True, eq=False)
class LinearRule(Rule):
    """`coefficients @ values[places] + offset` is at least 0 in each instance, or equal to 0 where `equal`.

    `places` (m, k) and `coefficients` (m, k) belong together, `offset` has shape (m,). Raises ValueError for shapes
    that do not fit, numbers that are not finite, and a place that stands twice in one instance.
    """

    places: Places
    coefficients: Floats
    offset: Floats
    equal: bool = False

    def __post_init__(self) -> None:
        places = np.atleast_2d(np.asarray(self.places, np.int64))
        coefficients = np.broadcast_to(np.asarray(self.coefficients, np.float64), places.shape)
        offset = np.broadcast_to(np.asarray(self.offset, np.float64), places.shape[:1])
        if not (np.isfinite(coefficients).all() and np.isfinite(offset).all()):
            raise ValueError("the numbers of a rule must be finite")
        ordered = np.sort(places, axis=1)
        if places.size and (places.min() < 0 or (ordered[:, 1:] == ordered[:, :-1]).any()):
            raise ValueError("places must be 0 or more, and no place may stand twice in one instance")
        for name, value in (("places", places), ("coefficients", coefficients), ("offset", offset)):
            object.__setattr__(self, name, np.ascontiguousarray(value))

    @property
    def size(self) -> int:
        """Instances."""
        return len(self.places)

    @property
    def reach(self) -> int:
        """One more than the highest place."""
        return int(self.places.max(initial=-1)) + 1

    @property
    def scale(self) -> float:
        """The largest distance of a boundary from the origin."""
        return float(np.max(np.abs(self.offset) / np.sqrt(self.squares), initial=0.0))

    @cached_property
    def squares(self) -> Floats:
        """Σ coefficients² of each instance (m,); 1 where all are 0, so that dividing by it is safe."""
        sums = np.sum(self.coefficients**2, axis=1)
        return np.where(sums > 0, sums, 1.0)

    def left(self, values: Floats) -> Floats:
        """`coefficients @ values[places] + offset`, shape (m,)."""
        return np.asarray(np.sum(values[self.places] * self.coefficients, axis=1) + self.offset)

    def broken_by(self, values: Floats) -> Floats:
        """How far the left side is from what it must be."""
        left = self.left(values)
        return np.abs(left) if self.equal else np.maximum(0.0, -left)

    def nearest(self, values: Floats) -> Floats:
        """Each instance is a half-space or a plane: one step along its normal. Exact where no place is shared."""
        left = self.left(values)
        lack = -left if self.equal else np.maximum(0.0, -left)
        moved = values.copy()
        moved[self.places] += self.coefficients * (lack / self.squares)[:, None]
        return moved

    def where(self, chosen: ArrayLike) -> LinearRule:
        """The chosen instances alone: a mask (m,) or their numbers."""
        rows = np.asarray(chosen)
        return LinearRule(self.places[rows], self.coefficients[rows], self.offset[rows], self.equal)

    def negated(self, margin: float = 0.0) -> LinearRule:
        """Each instance turned round: the left side is at most `-margin`. Raises ValueError for an equality."""
        if self.equal:
            raise ValueError("what is unequal to a number forms no closed set")
        return LinearRule(self.places, -self.coefficients, -self.offset - margin)

    def parts(self) -> Sequence[LinearRule]:
        """Instances that share no place, put together."""
        return self._parts

    @cached_property
    def _parts(self) -> Sequence[LinearRule]:
        if len(np.unique(self.places)) == self.places.size:
            return [self]
        colours = _coloured(self.places)
        return [self.where(np.flatnonzero(colours == colour)) for colour in range(int(colours.max()) + 1)]


def _coloured(places: Places) -> Places:
    """A number for each instance (m,), the least that no earlier instance with one of its places has."""
    taken = [0] * (int(places.max()) + 1)  # of each place the numbers in use, as bits
    colours = np.empty(len(places), np.int64)
    for instance, row in enumerate(places.tolist()):
        used = 0
        for place in row:
            used |= taken[place]
        free = ~used & (used + 1)  # the lowest bit that is 0
        colours[instance] = free.bit_length() - 1
        for place in row:
            taken[place] |= free
    return colours


def comparison(greater: ArrayLike, lesser: ArrayLike, margin: ArrayLike = 0.0) -> LinearRule:
    """`values[greater] ≥ values[lesser] + margin`; both (m,), the margin a number or (m,)."""
    pairs = np.stack(np.broadcast_arrays(np.atleast_1d(greater), np.atleast_1d(lesser)), axis=-1)
    return LinearRule(pairs, np.array([1.0, -1.0]), -np.asarray(margin, np.float64))


def conservation(places: ArrayLike, total: ArrayLike) -> LinearRule:
    """The numbers at `places` (m, k) add up to `total`, a number or (m,), in each of m instances."""
    return LinearRule(np.atleast_2d(np.asarray(places)), np.array(1.0), -np.asarray(total, np.float64), equal=True)


@dataclass(frozen=True, eq=False)
class ImplicationRule(Rule):
    """Where `condition` holds, `then` must hold as well: two linear rules of as many instances.

    An instance obeys it on the union of two half-spaces, which is not convex: `nearest` is exact, but it cannot be
    combined with other rules. Where the condition speaks of known data, use `then.where(mask)` instead, which is convex.
    Raises ValueError for rules of different sizes or instances that share places, and for a condition that is an equality.
    """

    condition: LinearRule
    then: LinearRule
    margin: float = 0.0  # by which a condition must miss, where the values are moved out of it
    convex: bool = False

    def __post_init__(self) -> None:
        if self.condition.size != self.then.size:
            raise ValueError(f"{self.condition.size} conditions for {self.then.size} conclusions")
        if self.condition.equal:
            raise ValueError("a condition on predictions must be an inequality: no two predictions are exactly equal")
        owner = np.full(self.reach, -1)
        for rule in (self.condition, self.then):
            rows = np.broadcast_to(np.arange(rule.size)[:, None], rule.places.shape)
            if ((owner[rule.places] >= 0) & (owner[rule.places] != rows)).any() or len(rule.parts()) > 1:
                raise ValueError("the instances of an implication must not share places")
            owner[rule.places] = rows

    @property
    def size(self) -> int:
        """Instances."""
        return self.then.size

    @property
    def reach(self) -> int:
        """One more than the highest place."""
        return max(self.condition.reach, self.then.reach)

    @property
    def scale(self) -> float:
        """The larger of both."""
        return max(self.condition.scale, self.then.scale)

    @cached_property
    def otherwise(self) -> LinearRule:
        """The condition does not hold."""
        return self.condition.negated(self.margin)

    def broken_by(self, values: Floats) -> Floats:
        """The smaller of what is missing: for the conclusion, and for the condition not to hold."""
        return np.minimum(self.otherwise.broken_by(values), self.then.broken_by(values))

    def nearest(self, values: Floats) -> Floats:
        """The nearer of the two half-spaces, in each instance that breaks it."""
        broken = self.broken_by(values) > 0
        out, into = self.otherwise, self.then
        cheaper = out.broken_by(values) / np.sqrt(out.squares) < into.broken_by(values) / np.sqrt(into.squares)
        moved = into.where(broken & ~cheaper).nearest(values)
        return out.where(broken & cheaper).nearest(moved)
