"""Tensors inside the structures that people pass around: tuples, lists, mappings, dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Distribution


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a structure, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif isinstance(value, Distribution):
        for item in list(vars(value).values()):
            yield from tensors_in(item)


def mapped(value: Any, make: Callable[[Any], Any], kind: type = Tensor) -> Any:
    """A structure with every object of a kind replaced; what holds none stays the same object."""
    if isinstance(value, kind):
        return make(value)
    if isinstance(value, (list, tuple)):
        items = [mapped(item, make, kind) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        entries = {key: mapped(item, make, kind) for key, item in value.items()}
        if all(entries[key] is item for key, item in value.items()):
            return value
        made = copy.copy(value)
        made.update(entries)  # type: ignore[attr-defined]
        return made
    if isinstance(value, slice):
        return slice(*(mapped(part, make, kind) for part in (value.start, value.stop, value.step)))
    return value
