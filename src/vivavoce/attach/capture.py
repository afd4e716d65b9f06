"""`Capture`: notes down one training step, from the first call of a model to its loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from vivavoce.attach import numbers
from vivavoce.attach.generators import States
from vivavoce.attach.rehearsal import Circumstances, Node, Rehearsal, Slot, inputs_of, is_assignment
from vivavoce.attach.structures import mapped, tensors_in
from vivavoce.attach.twin import NotRepeatableError, Twin

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

DRAWING = ("rand", "normal", "bernoulli", "multinomial", "uniform", "exponential", "dropout", "poisson", "geometric")
MOST_NODES = 5_000  # calls noted in one step; a longer step is not repeated


class Capture:
    """Notes down what happens between the first call of a model and `backward`.

    Every outermost call of a known module is one node; in between, a mode of `torch.overrides` notes the functions
    that are called on tensors. The same kernels run with and without it. Compiled models must not be captured.
    """

    def __init__(self, session: Session, keep_sites: bool = False) -> None:
        self.session = session
        self.keep_sites = keep_sites
        self.nodes: list[Node] = []
        self.tensors: dict[int, Tensor] = {}  # by slot: those that came from outside
        self.random: States | None = None
        self.broken = ""  # why the step cannot be repeated
        self._slots: dict[int, int] = {}  # id(tensor) -> slot
        self._kept: list[Any] = []  # keeps the ids of tensors from being given out again
        self._inside: nn.Module | None = None
        self._handles: list[Any] = []
        self._mode: _Listener | None = None
        self._slot: int | None = None  # of the loss
        self._loss: Tensor | None = None
        self._raw: Tensor | None = None

    # listening ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen from the next call of a model on."""
        hooks = nn.modules.module
        self._handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, with_kwargs=True),
        ]

    def stop(self) -> None:
        """Listen no more. What was captured stays."""
        for handle in self._handles:
            handle.remove()
            # PyTorch 2.13 leaves this entry behind, and would take every later call of a module for a hooked one
            nn.modules.module._global_forward_hooks_with_kwargs.pop(handle.id, None)
        self._handles = []
        self.silence()

    def silence(self) -> bool:
        """Take the mode off; False where it lies under another one, or is at work further up: it is idle, then."""
        if self._mode is None:
            return True
        self._mode.on = False
        stack = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        if stack and stack[-1] is self._mode:
            _pop_mode()  # type: ignore[no-untyped-call]
            self._mode = None
        return self._mode is None

    def _listen(self) -> None:
        if self._mode is not None or self.broken or not self._handles:
            return
        if _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
            self.broken = "another tool listens to the functions of torch"
            return
        self._mode = _Listener(self)
        _push_mode(self._mode)  # type: ignore[no-untyped-call]

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self._inside is not None or self.broken or numbers.tracing() or not self.session.active:
            return
        known = self.session.registry.module(module) is not None
        if known and torch.is_grad_enabled():
            self.random = self.random or States()
        elif torch.is_grad_enabled() or self._mode is None:
            return  # a module that holds nothing trained is noted function by function
        self._inside = module
        if not self.silence():
            self.broken = "another tool listens to the functions of torch"

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if module is not self._inside:
            return
        self._inside = None
        if self.broken or not self.session.active:
            return
        try:
            if torch.is_grad_enabled():
                self._note(module, None, args, kwargs, output)
            self._listen()
        except Exception as error:
            self._break(error)

    def called(self, function: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> None:
        """A function of torch was called outside the models."""
        if self.broken or self._inside is not None:
            return
        try:
            if is_assignment(function):
                self._note(None, function, args, kwargs, args[0])
            elif any(True for _ in tensors_in(result)):
                self._note(None, function, args, kwargs, result)
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        self.broken = self.broken or f"noting it down failed ({type(error).__name__}: {error})"

    def _note(self, module: nn.Module | None, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        if len(self.nodes) >= MOST_NODES:
            self.broken = f"one step makes more than {MOST_NODES:,} calls"
            return
        site = self.session.sites.site(2) if self.keep_sites else None
        args, kwargs = mapped((args, kwargs), self._slot_of)
        outputs = tuple(self._new_slot(tensor) for tensor in tensors_in(result))
        self.nodes.append(Node(module, function, args, kwargs, outputs, Circumstances.now(), site))

    def _slot_of(self, tensor: Tensor) -> Slot:
        index = self._slots.get(id(tensor))
        if index is None:
            index = self._new_slot(tensor)
            self.tensors[index] = tensor
        return Slot(index)

    def _new_slot(self, tensor: Tensor) -> int:
        index = self._slots[id(tensor)] = len(self._kept)
        self._kept.append(tensor)
        return index

    # the end of it ----------------------------------------------------------------------------------------------------

    def close(self, loss: Tensor, raw: Tensor | None = None) -> None:
        """The step ends in this loss. `raw` is the loss before a GradScaler scaled it.

        The tensors that the step made itself are let go; those that came from outside are kept until `release`.
        """
        self.stop()
        self._slot = self._slots.get(id(loss))
        self._loss = loss.detach()
        self._raw = self._loss if raw is None else raw.detach()
        if loss.numel() != 1:
            self.broken = self.broken or "the loss is not a single number"
        self._kept, self._slots = [], {}
        if self._slot is not None:
            self.nodes = _needed(self.nodes, self._slot)
            used = {slot for node in self.nodes for slot in inputs_of(node)}
            self.tensors = {slot: tensor for slot, tensor in self.tensors.items() if slot in used}

    def rehearsal(self, twin: Twin | None = None, instead: Mapping[int, Tensor] | None = None) -> Rehearsal:
        """The closed step with a copy of the models, or on a `twin` made before.

        `instead` holds data, by slot, that take the place of the step's own. Raises NotRepeatableError where the step
        cannot be repeated.
        """
        if self.broken:
            raise NotRepeatableError(self.broken)
        if not self.nodes or self.random is None:
            raise NotRepeatableError("no call of a model was seen before backward()")
        slot = self._slot
        if slot is None or self._loss is None or self._raw is None:
            raise NotRepeatableError("the loss was not made from the model's outputs by functions of torch alone")
        if twin is None:
            twin = Twin(self.session, [node.module for node in self.nodes if node.module is not None])
        data, leaves = {}, {}
        for index, tensor in self.tensors.items():
            if tensor.requires_grad and not tensor.is_leaf:
                raise NotRepeatableError("the loss depends on something that was computed before the model was called")
            if tensor.requires_grad and self._trained(tensor):
                leaves[index] = twin.leaf(tensor)
            else:
                copied = (instead or {}).get(index, tensor).detach().clone()
                data[index] = copied.requires_grad_(tensor.requires_grad)
        value, scaled = float(self._raw), float(self._loss)
        nodes = [dataclasses.replace(n, module=n.module and twin.module(n.module)) for n in self.nodes]
        scale = 1.0 if self._raw is self._loss or not value or not math.isfinite(scaled) else scaled / value
        return Rehearsal(nodes, slot, data, leaves, twin, self.random, value, scale)

    def _trained(self, tensor: Tensor) -> bool:
        """Whether a leaf is a weight: a model's or an optimizer's own. Other leaves are inputs to be differentiated by."""
        states = self.session.optimizers.known()
        held = any(tensor is p for state in states for p in state.parameters)
        return held or self.session.registry.parameter(tensor) is not None

    def release(self) -> None:
        """Let go of the user's tensors."""
        self.nodes, self._kept = [], []
        self.tensors, self._slots = {}, {}
        self._loss = self._raw = None


def _draws(node: Node) -> bool:
    """Whether a function draws random numbers: left out, it would shift those of the calls after it."""
    name = getattr(node.function, "__name__", "")
    return any(word in name for word in DRAWING)


def _needed(nodes: list[Node], slot: int) -> list[Node]:
    """The calls that a result depends on, in their order."""
    needed, kept = {slot}, []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs) or _draws(node):
            kept.append(node)
            needed.update(inputs_of(node))
    return kept[::-1]


class _Listener(TorchFunctionMode):
    """Hands every call of a function of torch to a capture."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self.capture = capture
        self.on = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.on:
            self.capture.called(func, args, kwargs or {}, result)
        return result
