"""The nearest point that obeys several rules at once: Dykstra's algorithm, with a certificate that it is the nearest.

Boyle and Dykstra, *A method for finding projections onto the intersection of convex sets* (1986). Each rule is projected
onto in turn, and what the rule took away the last time is given back before. Without that memory the sweeps would end
somewhere in the intersection, not at the nearest point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.measure.rules import Floats, Rule, check_reach

EXACT = 1e-11  # of the largest number: a sweep that moves nothing by more is the last
MOST_SWEEPS = 20_000
STUCK = 1e-6  # of the largest number: a violation that remains after all sweeps and is no rounding


@dataclass(frozen=True)
class Projection:
    """The projected `values`, and how it ended.

    `residual` is the largest move that any rule still made in the last of `sweeps` sweeps, `violation` the largest one left.
    A residual of 0 is a proof: values that no rule moves any more, each with its memory given back, obey the rules
    and differ from the given ones by normals of the rules alone (the Karush-Kuhn-Tucker conditions), so they are the nearest.
    """

    values: Floats
    sweeps: int
    residual: float
    violation: float


def dykstra(rules: Sequence[Rule], values: ArrayLike, most_sweeps: int = MOST_SWEEPS) -> Projection:
    """Project values of any shape onto the rules.

    Raises ValueError for values that are not finite, rules of more places than there are values, several rules of which
    one is not convex, and rules that no values can obey together.
    """
    given = np.asarray(values, np.float64)
    parts = _parts(rules)
    for part in parts:
        check_reach(part, given.size)
    if not np.isfinite(given).all():
        raise ValueError("values that are not finite cannot be projected")
    scale = max([float(np.max(np.abs(given), initial=0.0)), *(part.scale for part in parts)]) or 1.0
    current, memory = given.reshape(-1).copy(), [np.zeros(given.size) for _ in parts]
    residual, sweeps = float("inf"), 0
    while residual > EXACT * scale and sweeps < most_sweeps:
        current, residual = _sweep(parts, current, memory)
        residual = residual if len(parts) > 1 else 0.0  # a single projection is exact
        sweeps += 1
    violation = max((float(np.max(part.broken_by(current), initial=0.0)) for part in parts), default=0.0)
    if violation > STUCK * scale:
        raise ValueError(
            f"no values obey all rules together: after {sweeps:,} sweeps one is still broken by {violation:.3g}"
        )
    return Projection(current.reshape(given.shape), sweeps, residual, violation)


def _parts(rules: Sequence[Rule]) -> list[Rule]:
    if len(rules) > 1 and not all(rule.convex for rule in rules):
        raise ValueError("an implication on predictions is not convex: it can only be projected onto alone")
    return [part for rule in rules for part in rule.parts() if part.size]


def _sweep(parts: Sequence[Rule], current: Floats, memory: list[Floats]) -> tuple[Floats, float]:
    """Project onto each part in turn; the values then, and the largest move of any part."""
    most = 0.0
    for number, part in enumerate(parts):
        given_back = current + memory[number]
        moved = part.nearest(given_back)
        memory[number] = given_back - moved
        most = max(most, float(np.max(np.abs(moved - current), initial=0.0)))
        current = moved
    return current, most
