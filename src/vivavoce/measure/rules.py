"""Rules that numbers must obey: an exact check, a differentiable penalty, and the exact projection.

A rule speaks of numbers by their place in the flat values: those of an array of any shape, counted in C order. Arrays
are handled with NumPy in float64; tensors where they lie, by `rules_torch`, imported only when a tensor is given.

>>> from vivavoce.measure import comparison
>>> older = comparison(greater=[0], lesser=[1])  # the first number must exceed the second
>>> rule_violations(older, [40.0, 62.0]).tolist()
[22.0]
>>> project_onto_rules(older, [40.0, 62.0]).tolist()
[51.0, 51.0]
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

TOLERANCE = 1e-9  # of the largest number at hand: what float64 arithmetic may add to a violation
TOLERANCE_32 = 1e-5  # the same for float32 and shorter numbers


class Rule(ABC):
    """What numbers must obey, in `size` instances. `convex` says that the numbers which obey it form a convex set."""

    convex: bool = True

    @property
    @abstractmethod
    def size(self) -> int:
        """How many instances of the rule there are."""

    @property
    @abstractmethod
    def reach(self) -> int:
        """One more than the highest place that the rule speaks of."""

    @property
    def scale(self) -> float:
        """The largest constant in it, for what counts as rounding."""
        return 0.0

    @abstractmethod
    def broken_by(self, values: Floats) -> Floats:
        """By how much each instance is broken, shape (size,): 0 where it holds. `values` are flat."""

    @abstractmethod
    def nearest(self, values: Floats) -> Floats:
        """The nearest values that obey this rule, of the same shape; a convex rule's parts only: see `parts`."""

    def parts(self) -> Sequence[Rule]:
        """Rules that together say the same, whose `nearest` is exact for each."""
        return [self]


@dataclass(frozen=True)
class Check:
    """How a rule stands: `broken` of `size` instances (their numbers in `where`), the worst by `worst`."""

    size: int
    where: Places
    worst: float

    @property
    def broken(self) -> int:
        """How many instances are broken."""
        return len(self.where)

    @property
    def holds(self) -> bool:
        """Whether none is."""
        return not self.broken


def rule_violations(rule: Rule, values: Any) -> Any:
    """By how much each instance is broken, shape (rule.size,), 0 where it holds: an array, of tensors a tensor.

    Of tensors it is differentiable wherever it is positive. Raises ValueError where there are fewer values than the
    rule speaks of.
    """
    if (own := _for_tensors(values)) is not None:
        return own.violations(rule, values)
    return rule.broken_by(_flat(rule, values))


def rule_penalty(rules: Rule | Sequence[Rule], values: Any) -> Any:
    """The hinge penalty: the mean violation of each rule's instances, summed over the rules; to be added to a loss.

    A float, of tensors a tensor of shape () with a gradient. Raises ValueError as `rule_violations` does.
    """
    if (own := _for_tensors(values)) is not None:
        return own.penalty(as_list(rules), values)
    return float(sum(np.mean(rule.broken_by(_flat(rule, values))) for rule in as_list(rules) if rule.size))


def check_rule(rule: Rule, values: Any, tolerance: float | None = None) -> Check:
    """Which instances are broken by more than `tolerance`, an amount; by default what rounding explains.

    NaN breaks every instance that it touches. Raises ValueError as `rule_violations` does. Waits for a device.
    """
    torch = sys.modules.get("torch")
    short = False
    if torch is not None and isinstance(values, torch.Tensor):
        short = values.dtype != torch.float64
        values = values.detach().cpu().to(torch.float64).numpy()
    flat = _flat(rule, values)
    amounts = rule.broken_by(flat)
    if tolerance is None:
        largest = max(float(np.max(np.abs(flat[np.isfinite(flat)]), initial=0.0)), rule.scale)
        tolerance = (TOLERANCE_32 if short else TOLERANCE) * largest
    where = np.flatnonzero(~(amounts <= tolerance))
    return Check(len(amounts), where, float(np.max(amounts[where], initial=0.0)))


def project_onto_rules(rules: Rule | Sequence[Rule], values: Any) -> Any:
    """The nearest values that obey all rules, of the same shape: `dykstra` without its certificate.

    Where the truth obeys the rules, the squared error cannot grow. Raises ValueError as `dykstra` does.
    """
    if (own := _for_tensors(values)) is not None:
        return own.project(as_list(rules), values)
    from vivavoce.measure.rules_projection import dykstra

    return dykstra(as_list(rules), values).values


def as_list(rules: Rule | Sequence[Rule]) -> list[Rule]:
    """One rule or several, as a list."""
    return [rules] if isinstance(rules, Rule) else list(rules)


def _for_tensors(values: Any) -> ModuleType | None:
    """The module for tensors where `values` is one."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return None
    return import_module("vivavoce.measure.rules_torch")


def _flat(rule: Rule, values: ArrayLike) -> Floats:
    flat = np.asarray(values, np.float64).reshape(-1)
    check_reach(rule, len(flat))
    return flat


def check_reach(rule: Rule, count: int) -> None:
    """Raise ValueError where a rule speaks of a place that `count` values do not have."""
    if rule.reach > count:
        raise ValueError(f"the rule speaks of value number {rule.reach - 1}; only {count} are given")
