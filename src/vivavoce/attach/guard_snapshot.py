"""A copy of what a training step changes, to go back to: parameters, buffers, optimizers' state, loss scales."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vivavoce.attach import numbers
from vivavoce.attach.guard_loans import held_by

TINY = 1e-30  # stands for the norm of weights that are all zero
KEPT_FREE = 0.1  # of a device's memory: a copy that would leave less is kept in the computer's memory
SCHEDULED = frozenset(  # keys of a parameter group that belong to the script and its schedulers, not to the optimizer
    {"params", "lr", "initial_lr", "max_lr", "min_lr", "swa_lr", "betas", "momentum", "base_momentum", "max_momentum"}
)
SCALE = ("_scale", "_growth_tracker")  # tensors of a GradScaler


@dataclass(frozen=True)
class Away:
    """A copy in the computer's memory of a tensor that lies on a device."""

    tensor: Tensor
    device: torch.device


Copy = Tensor | Away


class Snapshot:
    """The state before a step. It keeps no object of the script's alive.

    `step` is the step that it was taken before. Learning rates and momenta are left out: the script's schedulers go on
    from where they are. Copies lie on the same device, or in the computer's memory where there is little room left.
    """

    def __init__(
        self, step: int, optimizers: Iterable[Any], roots: Iterable[nn.Module], scalers: Iterable[Any]
    ) -> None:
        self.step = step
        self.bytes = 0
        self._parameters: list[tuple[weakref.ref[Tensor], Copy]] = []
        self._buffers: list[tuple[weakref.ref[nn.Module], str, Copy]] = []
        self._optimizers: list[tuple[weakref.ref[Any], dict[int, Any], list[dict[str, Any]]]] = []
        self._scalers: list[tuple[weakref.ref[Any], dict[str, Any]]] = []
        with torch.no_grad():
            optimizers = list(optimizers)
            every = {id(p): p for optimizer in optimizers for p in held_by(optimizer)}
            for parameter in every.values():
                self._parameters.append((weakref.ref(parameter), self._copied(parameter)))
            for module, name, buffer in _buffers(roots):
                self._buffers.append((weakref.ref(module), name, self._copied(buffer)))
            for optimizer in optimizers:
                state = {id(key): self._copied(value) for key, value in optimizer.state.items()}
                groups = [_own(group, self._copied) for group in optimizer.param_groups]
                self._optimizers.append((weakref.ref(optimizer), state, groups))
            for scaler in scalers:
                held = {name: self._copied(getattr(scaler, name, None)) for name in SCALE}
                self._scalers.append((weakref.ref(scaler), held))

    def restore(self) -> None:
        """Put everything back, in place: what was compiled, tied or wrapped stays what it is."""
        with torch.no_grad():
            for parameter, saved in self._parameters:
                live = parameter()
                if live is not None:
                    _put(live, saved)
            self.restore_buffers(every=True)
            for reference, state, groups in self._optimizers:
                optimizer = reference()
                if optimizer is not None:
                    _put_optimizer(optimizer, state, groups)
            for reference, held in self._scalers:
                scaler = reference()
                for name, value in held.items() if scaler is not None else ():
                    setattr(scaler, name, _merged(getattr(scaler, name, None), value))

    def growth(self) -> float:
        """Norm of the weights now over their norm in the snapshot; NaN or infinite where they are not finite."""
        pairs = [(live, saved) for parameter, saved in self._parameters if (live := parameter()) is not None]
        now = _norm([live.detach() for live, _ in pairs])
        return now / max(_norm([saved.tensor if isinstance(saved, Away) else saved for _, saved in pairs]), TINY)

    def restore_buffers(self, every: bool = False) -> int:
        """Put buffers back: those that are not finite any more, or all. Returns how many."""
        count = 0
        with torch.no_grad():
            for reference, name, saved in self._buffers:
                module = reference()
                live = module._buffers.get(name) if module is not None else None
                if live is None or module is None or not (every or not finite(live)):
                    continue
                count += 1
                module._buffers[name] = _merged(live, saved)
        return count

    def _copied(self, value: Any) -> Any:
        """A copy of a tensor or of what holds tensors; None of a tensor without data."""
        if isinstance(value, Tensor):
            self.bytes += value.numel() * value.element_size()
            return Away(value.detach().cpu(), value.device) if _crowded(value) else value.detach().clone()
        if isinstance(value, dict):
            return {key: self._copied(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self._copied(item) for item in value]
            return items if isinstance(value, list) else tuple(items)
        return value if isinstance(value, (int, float, str, bool, type(None))) else copy.copy(value)


def finite(tensor: Tensor) -> bool:
    """Whether all values of a tensor are finite; waits for the device."""
    if tensor.is_meta or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    return bool(torch.isfinite(tensor.detach()).all())


def _norm(tensors: list[Tensor]) -> float:
    return math.hypot(*numbers.norms([numbers.plain(tensor) for tensor in tensors]).tolist()) if tensors else 0.0


def _buffers(roots: Iterable[nn.Module]) -> list[tuple[nn.Module, str, Tensor]]:
    modules = {id(module): module for root in roots for module in root.modules()}
    return [
        (module, name, buffer)
        for module in modules.values()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_meta
    ]


def _own(group: dict[str, Any], copied: Any) -> dict[str, Any]:
    """What the optimizer itself keeps in a parameter group."""
    return {key: copied(value) for key, value in group.items() if key not in SCHEDULED}


def _put(live: Tensor, saved: Copy) -> None:
    """Overwrite a tensor's data. Its version counter is left alone: a graph that holds it may still be walked."""
    live.data.copy_(saved.tensor if isinstance(saved, Away) else saved)


def _put_optimizer(optimizer: Any, state: dict[int, Any], groups: list[dict[str, Any]]) -> None:
    for key in list(optimizer.state):
        if id(key) in state:
            optimizer.state[key] = _merged(optimizer.state[key], state[id(key)])
        else:
            del optimizer.state[key]
    for group, saved in zip(optimizer.param_groups, groups, strict=False):
        for name, value in saved.items():
            group[name] = _merged(group.get(name), value)


def _merged(live: Any, saved: Any) -> Any:
    """The saved value, in the live tensors wherever they fit."""
    if isinstance(saved, (Tensor, Away)):
        value = saved.tensor if isinstance(saved, Away) else saved
        if isinstance(live, Tensor) and live.shape == value.shape and live.dtype == value.dtype:
            _put(live, saved)
            return live
        return value.to(saved.device, copy=True)
    if isinstance(saved, dict):
        before = live if isinstance(live, dict) else {}
        return {key: _merged(before.get(key), value) for key, value in saved.items()}
    if isinstance(saved, (list, tuple)):
        items = [_merged(None, value) for value in saved]
        return items if isinstance(saved, list) else tuple(items)
    return saved


def _crowded(tensor: Tensor) -> bool:
    """Whether a copy would take up what little memory the device has left."""
    if tensor.device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(tensor.device)
    return free - tensor.numel() * tensor.element_size() < KEPT_FREE * total
