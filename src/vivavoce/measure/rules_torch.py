"""Rules on tensors, on the device where they lie, with gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vivavoce.measure.rules import Floats, Rule, check_reach
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
    places = torch.as_tensor(rule.places, device=flat.device)
    coefficients, offset = (_like(part, flat) for part in (rule.coefficients, rule.offset))
    left = (flat[places] * coefficients).sum(1) + offset
    return left.abs() if rule.equal else (-left).clamp(min=0)


def _monotone(rule: MonotoneRule, flat: Tensor) -> Tensor:
    y = flat[torch.as_tensor(rule.places, device=flat.device)]
    y = y if rule.rising else -y
    starts = torch.zeros(len(y), dtype=torch.int64, device=flat.device)
    starts[torch.as_tensor(rule.levels, device=flat.device)] = 1
    level, empty = starts.cumsum(0) - 1, y.new_zeros(len(rule.levels))
    top = empty.scatter_reduce(0, level, y, "amax", include_self=False)
    bottom = empty.scatter_reduce(0, level, y, "amin", include_self=False)
    joined = torch.as_tensor(rule.joined, device=flat.device)
    return (top[joined - 1] - bottom[joined]).clamp(min=0)


def _symmetry(rule: SymmetryRule, flat: Tensor) -> Tensor:
    places, orbits = (torch.as_tensor(part, device=flat.device) for part in (rule.places, rule.orbits))
    signs, counts = _like(rule.sign, flat), _like(rule.counts, flat)
    sums = flat.new_zeros(len(rule.counts)).index_add(0, orbits, signs * flat[places])
    return (flat[places] - signs * (sums / counts)[orbits]).abs()


def _like(numbers: Floats, flat: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=flat.dtype, device=flat.device)
