"""A training step, from the model's inputs to its loss, that can be repeated on a copy of the model.

`Capture` notes one down; `Rehearsal` repeats it on a `Twin`, as often as wanted, with other inputs or other weights.
Nothing of the user's is changed by either: the tensors that go in are cloned, and random number generators are put
back by `aside`.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vivavoce.attach.generators import States, cuda_in_use, untouched
from vivavoce.attach.structures import mapped, tensors_in
from vivavoce.attach.twin import NotRepeatableError, Twin
from vivavoce.record.entities import Site

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

SAME_LOSS = 1e-3  # relative difference between a loss and its repetition: kernels on a device may sum in another order


class Slot:
    """Stands for a tensor among a call's arguments."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What surrounded a call: whether gradients were on, and autocast's devices and types."""

    grad: bool
    autocast: tuple[tuple[str, torch.dtype], ...]

    @classmethod
    def now(cls) -> Circumstances:
        """Those of this moment."""
        kinds = ("cpu", "cuda") if cuda_in_use() else ("cpu",)
        casts = tuple((kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind))
        return cls(torch.is_grad_enabled(), casts)

    @contextmanager
    def again(self) -> Iterator[None]:
        """The same circumstances inside the block."""
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(self.grad))
            for kind in ("cpu", "cuda") if cuda_in_use() else ("cpu",):
                kinds = dict(self.autocast)
                stack.enter_context(torch.autocast(kind, dtype=kinds.get(kind), enabled=kind in kinds))
            yield


@dataclasses.dataclass(frozen=True)
class Node:
    """One call of a step: of a module of the user's (`module`), or of a function of torch (`function`)."""

    module: nn.Module | None
    function: Callable[..., Any] | None
    args: Any
    kwargs: Any
    outputs: tuple[int, ...]
    circumstances: Circumstances
    site: Site | None


Change = Callable[[Tensor], Tensor]


class Rehearsal:
    """A step that can be repeated on its twin.

    `value` is the loss that the user's own step had, `scale` the factor by which a GradScaler had multiplied it.
    """

    def __init__(
        self,
        nodes: list[Node],
        slot: int,
        data: dict[int, Tensor],
        leaves: dict[int, Tensor],
        twin: Twin,
        random: States,
        value: float,
        scale: float,
    ) -> None:
        self.nodes = nodes
        self.slot = slot
        self.data = data
        self.leaves = leaves
        self.twin = twin
        self.random = random
        self.value = value
        self.scale = scale
        self.current: Node | None = None  # what runs now
        twin.save()

    def loss(self, change: Change | None = None, watch: Callable[[Node, Any], None] | None = None) -> Tensor:
        """The loss on the twin as it stands, with its graph.

        `change` is applied to the first of the script's own tensors that go into each call of a model: models may be
        given the targets, too.

        `watch` is called with every node and its result.
        """
        values = {i: t.detach().clone().requires_grad_(t.requires_grad) for i, t in self.data.items()}
        values.update(self.leaves)
        for node in self.nodes:
            self.current = node
            result = self._call(node, values, change)
            if watch is not None:
                watch(node, result)
            values.update(zip(node.outputs, tensors_in(result), strict=True))
        return values[self.slot] / self.scale

    def _call(self, node: Node, values: dict[int, Tensor], change: Change | None) -> Any:
        pending = [change] if change is not None and node.module is not None else []

        def fill(slot: Slot) -> Tensor:
            tensor = values[slot.index]
            if not pending or slot.index not in self.data:
                return tensor
            return pending.pop()(tensor.detach()).requires_grad_(tensor.requires_grad)

        args, kwargs = mapped((node.args, node.kwargs), fill, Slot)
        with node.circumstances.again():
            call = node.module if node.module is not None else node.function
            assert call is not None
            result = call(*args, **kwargs)
        return args[0] if node.module is None and is_assignment(call) else result

    def verify(self) -> None:
        """Raise NotRepeatableError where the repetition has another loss than the step had."""
        states = States()
        try:
            self.random.restore()
            found = float(self.loss().detach())
        except NotRepeatableError:
            raise
        except Exception as error:
            raise NotRepeatableError(f"repeating it on a copy failed ({type(error).__name__}: {error})") from None
        finally:
            states.restore()
            self.twin.restore()
        if not same(found, self.value):
            raise NotRepeatableError(f"repeating it on a copy gave the loss {found:.6g} instead of {self.value:.6g}")


def is_assignment(function: Any) -> bool:
    """Whether a function is `tensor[…] = …`, which changes its first argument and returns nothing."""
    return getattr(function, "__name__", "") == "__setitem__"


def inputs_of(node: Node) -> list[int]:
    """The slots that a call reads."""
    found: list[int] = []

    def note(slot: Slot) -> Slot:
        found.append(slot.index)
        return slot

    mapped((node.args, node.kwargs), note, Slot)
    return found


def same(found: float, expected: float) -> bool:
    """Whether a repeated loss is the loss; two that are not finite are the same."""
    if expected - expected != 0.0:
        return found - found != 0.0
    return abs(found - expected) <= SAME_LOSS * max(abs(expected), 1e-6)


@contextmanager
def aside(session: Session) -> Iterator[None]:
    """Computing of our own in the user's process: taps are idle, nothing is printed, no random number is used up."""
    active, session.active = session.active, False
    output, sys.stdout = sys.stdout, io.StringIO()
    try:
        with untouched(), torch.enable_grad(), torch.autograd.set_detect_anomaly(False):
            yield
    finally:
        sys.stdout = output
        session.active = active
