"""What the parameter groups of an optimizer hold."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def parameters_of(optimizer: Any) -> list[Tensor]:
    """The optimizer's tensors that hold data: those on the meta device have none to look at."""
    tensors = [p for group in optimizer.param_groups for p in group["params"] if isinstance(p, Tensor)]
    return [p for p in tensors if not p.is_meta]


def count_parameters(optimizer: Any) -> int:
    """How many parameters an optimizer holds, those without data counted."""
    count = 0
    for group in optimizer.param_groups:
        count += len(group["params"])
    return count


def facts(group: dict[str, Any], index: dict[int, int]) -> dict[str, Any]:
    """A group as it is recorded: the ids of its parameters (`index` by their `id`), its numbers, flags and words."""
    data: dict[str, Any] = {"parameters": [index[id(p)] for p in group["params"] if id(p) in index]}
    for key, value in group.items():
        name = "learning_rate" if key == "lr" else key
        if isinstance(value, Tensor):
            value = float(value) if value.numel() == 1 and value.device.type == "cpu" else None
        if isinstance(value, (int, float, bool, str)):
            data[name] = value
        elif isinstance(value, (tuple, list)) and all(isinstance(item, (int, float)) for item in value):
            data[name] = list(value)
    return data
