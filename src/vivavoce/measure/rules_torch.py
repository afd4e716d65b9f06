"""Rules on tensors, on the device where they lie, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vivavoce.measure.rules import Rule, check_reach
from vivavoce.measure.rules_linear import ImplicationRule, LinearRule
from vivavoce.measure.rules_order import MonotoneRule, SymmetryRule
from vivavoce.measure.rules_projection import dykstra


def violations(rule: Rule, values: Tensor) -> Tensor:
    """By how much each instance is broken, shape (rule.size,). Raises ValueError for too few values, TypeError for an
    unknown kind of rule."""
    flat = values.reshape(-1)
    check_reach(rule, len(flat))
    if isinstance(rule, LinearRule):
        return _linear(rule, flat)
    if isinstance(rule, ImplicationRule):
        return torch.minimum(_linear(rule.otherwise, flat), _linear(rule.then, flat))
    if isinstance(rule, MonotoneRule):
        return _monotone(rule, flat)
    if isinstance(rule, SymmetryRule):
        return _symmetry(rule, flat)
    raise TypeError(f"rules of the kind {type(rule).__name__} are for arrays only")


def penalty(rules: Sequence[Rule], values: Tensor) -> Tensor:
    """The mean violation of each rule's instances, summed over the rules; shape ()."""
    total = values.new_zeros(())
    for rule in rules:
        if rule.size:
            total = total + violations(rule, values).mean()
    return total


def project(rules: Sequence[Rule], values: Tensor) -> Tensor:
    """The nearest values that obey all rules, without a gradient. Computed in float64 on the processor, which the device
    waits for: it is meant for finished predictions. Raises ValueError as `dykstra` does."""
    array = values.detach().cpu().to(torch.float64).numpy()
    return torch.from_numpy(dykstra(rules, array).values).to(values.device, values.dtype)


def _linear(rule: LinearRule, flat: Tensor) -> Tensor:
    left = (_at(rule, "places", flat) * _numbers(rule, "coefficients", flat)).sum(1) + _numbers(rule, "offset", flat)
    return left.abs() if rule.equal else (-left).clamp(min=0)


def _monotone(rule: MonotoneRule, flat: Tensor) -> Tensor:
    y = _at(rule, "places", flat)
    y = y if rule.rising else -y
    starts = torch.zeros(len(y), dtype=torch.int64, device=flat.device)
    starts[_places(rule, "levels", flat)] = 1
    level, empty = starts.cumsum(0) - 1, y.new_zeros(len(rule.levels))
    top = empty.scatter_reduce(0, level, y, "amax", include_self=False)
    bottom = empty.scatter_reduce(0, level, y, "amin", include_self=False)
    joined = _places(rule, "joined", flat)
    return (top[joined - 1] - bottom[joined]).clamp(min=0)


def _symmetry(rule: SymmetryRule, flat: Tensor) -> Tensor:
    own, orbits = _at(rule, "places", flat), _places(rule, "orbits", flat)
    signs, counts = _numbers(rule, "sign", flat), _numbers(rule, "counts", flat)
    sums = flat.new_zeros(len(rule.counts)).index_add(0, orbits, signs * own)
    return (own - signs * (sums / counts)[orbits]).abs()


def _at(rule: Rule, name: str, flat: Tensor) -> Tensor:
    """The values at the rule's places, of their shape."""
    places = _places(rule, name, flat)
    return flat.index_select(0, places.reshape(-1)).reshape(places.shape)


def _places(rule: Rule, name: str, flat: Tensor) -> Tensor:
    return _kept(rule, name, flat.device, torch.int64)


def _numbers(rule: Rule, name: str, flat: Tensor) -> Tensor:
    return _kept(rule, name, flat.device, flat.dtype)


_copies: WeakKeyDictionary[Rule, dict[tuple[str, torch.device, torch.dtype], Tensor]] = WeakKeyDictionary()


def _kept(rule: Rule, name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    """An array of the rule on a device, copied once: a penalty is computed at every step."""
    copies, key = _copies.setdefault(rule, {}), (name, device, dtype)
    if key not in copies:
        copies[key] = torch.tensor(getattr(rule, name), dtype=dtype, device=device)
    return copies[key]
