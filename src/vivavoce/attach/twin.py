"""Copies of the user's models on which things can be tried out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

REPLICATED = ("DistributedDataParallel", "DataParallel")  # wrappers that are left out of a copy
SHARED = ("lightning", "pytorch_lightning", "transformers", "accelerate", "logging", "threading")  # libraries whose
# objects a model may point to (its trainer, say) and that are not copied with it
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")


class NotRepeatableError(Exception):
    """This step cannot be repeated; the message says why, as the end of a sentence after "because"."""


class Twin:
    """Copies of models, apart from the user's in everything but the data sets and trainers they point to.

    Raises NotRepeatableError where a model cannot be copied.
    """

    def __init__(self, session: Session, modules: Iterable[nn.Module]) -> None:
        self._memo: dict[int, Any] = {}
        self.roots: list[nn.Module] = []
        self.originals: dict[int, nn.Module] = {}  # id of a copied module -> the user's own
        for module in modules:
            if id(_unwrapped(module)) not in self._memo:
                known = session.registry.module(module)
                root = known[0].root() if known is not None else None
                self.roots.append(self._copy(_unwrapped(module if root is None else root)))
        self._saved: list[tuple[Tensor, Tensor]] = []
        self._rates = [(m, name, getattr(m, name)) for root in self.roots for m in root.modules() for name in _rates(m)]

    def _copy(self, root: nn.Module) -> nn.Module:
        for module in root.modules():
            for value in list(vars(module).values()):
                self._prepare(value)
        try:
            twin = copy.deepcopy(root, self._memo)
        except Exception as error:
            raise NotRepeatableError(f"{type(root).__name__} cannot be copied ({type(error).__name__})") from None
        for module, original in zip(twin.modules(), root.modules(), strict=True):
            _strip(module)
            self.originals[id(module)] = original
        return twin

    def _prepare(self, value: Any) -> None:
        """Tell deepcopy about what it cannot, or should not, copy."""
        if isinstance(value, Tensor) and not value.is_leaf:
            self._memo[id(value)] = value.detach().clone()
        elif isinstance(value, torch.Generator):
            self._memo[id(value)] = generator = torch.Generator(value.device)
            generator.set_state(value.get_state())
        elif isinstance(value, (DataLoader, Dataset)) or type(value).__module__.partition(".")[0] in SHARED:
            if not isinstance(value, nn.Module):
                self._memo[id(value)] = value
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._prepare(item)

    def module(self, original: nn.Module) -> nn.Module:
        """The copy of a module."""
        found = self._memo.get(id(_unwrapped(original)))
        if not isinstance(found, nn.Module):
            raise NotRepeatableError(f"{type(original).__name__} was called, which was not copied")
        return found

    def leaf(self, original: Tensor) -> Tensor:
        """The copy of a parameter; one that no copied model owns is copied now."""
        if id(original) not in self._memo:
            self._memo[id(original)] = original.detach().clone().requires_grad_()
        found: Tensor = self._memo[id(original)]
        return found

    def copied(self, original: Tensor) -> Tensor | None:
        """The copy of a parameter, None where there is none."""
        return self._memo.get(id(original))

    def tensors(self) -> list[Tensor]:
        """All parameters and buffers."""
        found = [t for root in self.roots for t in (*root.parameters(), *root.buffers())]
        found += [v for v in self._memo.values() if isinstance(v, Tensor) and v.requires_grad]
        return list({id(t): t for t in found}.values())

    def save(self) -> None:
        """Keep the weights as they are, for `restore`."""
        self._saved = [(tensor, tensor.detach().clone()) for tensor in self.tensors()]

    def restore(self) -> None:
        """Back to the saved weights, without gradients."""
        with torch.no_grad():
            for tensor, saved in self._saved:
                tensor.copy_(saved)
                tensor.grad = None

    def train(self, mode: bool = True) -> None:
        """Set training or evaluation mode."""
        for root in self.roots:
            root.train(mode)

    def dropout(self, on: bool) -> None:
        """Give every dropout layer its rate back, or set it to zero."""
        for module, name, rate in self._rates:
            setattr(module, name, rate if on else 0.0)


def _unwrapped(module: nn.Module) -> nn.Module:
    inner = getattr(module, "module", None)
    return inner if type(module).__name__ in REPLICATED and isinstance(inner, nn.Module) else module


def _rates(module: nn.Module) -> tuple[str, ...]:
    """Names of a layer's attributes that are rates of dropout."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return ("p",)
    return ("dropout",) if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) else ()


def _strip(module: nn.Module) -> None:
    """Take the user's own functions off a copy: they may keep what they are shown."""
    for name in _HOOKS:
        hooks = vars(module).get(name)
        if hooks:
            for key in [key for key, hook in hooks.items() if isinstance(hook, FunctionType)]:
                del hooks[key]
