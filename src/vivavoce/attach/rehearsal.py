"""A training step, from the model's inputs to its loss, noted down so that it can be repeated on a copy of the model.

`Capture` listens to one step; `Rehearsal` repeats it on a `Twin`, as often as wanted, with other inputs or other
weights. Nothing of the user's is changed by either: the tensors that go in are cloned, and random number generators
are put back by whoever repeats (`aside`).
"""

from __future__ import annotations

import copy
import dataclasses
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils.data import DataLoader, Dataset

from vivavoce.attach import numbers
from vivavoce.attach.generators import States, untouched
from vivavoce.record.entities import Site

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

MOST_NODES = 5_000  # calls noted in one step; a longer step is not repeated
SAME_LOSS = 1e-3  # relative difference between a loss and its repetition: kernels on a device may sum in another order
REPLICATED = ("DistributedDataParallel", "DataParallel")  # wrappers that are left out of a copy
SHARED = ("lightning", "pytorch_lightning", "transformers", "accelerate", "logging", "threading")  # libraries whose
# objects a model may point to (its trainer, say) and that are not copied with it
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")


class NotRepeatableError(Exception):
    """This step cannot be repeated; the message says why, as the end of a sentence after "because"."""


class _Slot:
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
        kinds = ("cpu", "cuda") if torch.cuda.is_initialized() else ("cpu",)
        casts = tuple((kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind))
        return cls(torch.is_grad_enabled(), casts)

    @contextmanager
    def again(self) -> Iterator[None]:
        """The same circumstances inside the block."""
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(self.grad))
            for kind in ("cpu", "cuda") if torch.cuda.is_initialized() else ("cpu",):
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
        self._handles = []
        self.silence()

    def silence(self) -> bool:
        """Take the mode off; False where it lies under another one, or is at work further up: it is idle, then."""
        if self._mode is None:
            return True
        self._mode.on = False
        stack = _get_current_function_mode_stack()
        if stack and stack[-1] is self._mode:
            _pop_mode()
            self._mode = None
        return self._mode is None

    def _listen(self) -> None:
        if self._mode is not None or self.broken or not self._handles:
            return
        if _get_current_function_mode_stack():
            self.broken = "another tool listens to the functions of torch"
            return
        self._mode = _Listener(self)
        _push_mode(self._mode)

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
            if any(True for _ in tensors_in(result)) or getattr(function, "__name__", "") == "__setitem__":
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
        filled = _mapped((args, kwargs), self._slot_of)
        outputs = tuple(self._new_slot(tensor) for tensor in tensors_in(result))
        self.nodes.append(Node(module, function, *filled, outputs, Circumstances.now(), site))

    def _slot_of(self, tensor: Tensor) -> _Slot:
        index = self._slots.get(id(tensor))
        if index is None:
            index = self._new_slot(tensor)
            self.tensors[index] = tensor
        return _Slot(index)

    def _new_slot(self, tensor: Tensor) -> int:
        index = self._slots[id(tensor)] = len(self._kept)
        self._kept.append(tensor)
        return index

    # the end of it ----------------------------------------------------------------------------------------------------

    def rehearsal(self, loss: Tensor, raw: Tensor | None = None) -> Rehearsal:
        """The captured step with a copy of the models. `raw` is the loss before a GradScaler scaled it.

        Raises NotRepeatableError where the step cannot be repeated.
        """
        slot = self._slots.get(id(loss))
        if self.broken:
            raise NotRepeatableError(self.broken)
        if not self.nodes or self.random is None:
            raise NotRepeatableError("no call of a model was seen before backward()")
        if slot is None or loss.numel() != 1:
            raise NotRepeatableError("the loss was not made from the model's outputs by functions of torch alone")
        twin = Twin(self.session, [node.module for node in self.nodes if node.module is not None])
        data, leaves = {}, {}
        for index, tensor in self.tensors.items():
            if tensor.requires_grad and not tensor.is_leaf:
                raise NotRepeatableError("the loss depends on something that was computed before the model was called")
            if tensor.requires_grad:
                leaves[index] = twin.leaf(tensor)
            else:
                data[index] = tensor.detach().clone()
        value = float((loss if raw is None else raw).detach())
        nodes = [dataclasses.replace(n, module=n.module and twin.module(n.module)) for n in self.nodes]
        scale = 1.0 if raw is None else float(loss.detach()) / value if value else 1.0
        return Rehearsal(nodes, slot, data, leaves, twin, self.random, value, scale)

    def release(self) -> None:
        """Let go of the user's tensors."""
        self.nodes, self._kept = [], []
        self.tensors, self._slots = {}, {}


class _Listener(TorchFunctionMode):
    """Hands every call of a function of torch to a capture."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capture = capture
        self.on = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.on:
            self.capture.called(func, args, kwargs or {}, result)
        return result


class Twin:
    """Copies of models, apart from the user's in everything but the data sets and trainers they point to.

    Raises NotRepeatableError where a model cannot be copied.
    """

    def __init__(self, session: Session, modules: Iterable[nn.Module]) -> None:
        self._memo: dict[int, Any] = {}
        self.roots: list[nn.Module] = []
        for module in modules:
            if id(_unwrapped(module)) not in self._memo:
                known = session.registry.module(module)
                root = known[0].root() if known is not None else None
                self.roots.append(self._copy(_unwrapped(module if root is None else root)))
        self._saved: list[tuple[Tensor, Tensor]] = []

    def _copy(self, root: nn.Module) -> nn.Module:
        for module in root.modules():
            for value in list(vars(module).values()):
                self._prepare(value)
        try:
            twin = copy.deepcopy(root, self._memo)
        except Exception as error:
            raise NotRepeatableError(f"{type(root).__name__} cannot be copied ({type(error).__name__})") from None
        for module in twin.modules():
            _strip(module)
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
        found: nn.Module = self._memo[id(_unwrapped(original))]
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

    def without_dropout(self) -> None:
        """Set the rate of every dropout layer to zero."""
        for root in self.roots:
            for module in root.modules():
                if isinstance(module, nn.modules.dropout._DropoutNd):
                    module.p = 0.0
                elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
                    module.dropout = 0.0


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
        twin.save()

    def loss(self, change: Change | None = None, watch: Callable[[Node, Any], None] | None = None) -> Tensor:
        """The loss on the twin as it stands, with its graph. `change` is applied to the data that go into the models.

        `watch` is called with every node and its result.
        """
        values = {index: tensor.clone() for index, tensor in self.data.items()}
        values.update(self.leaves)
        for node in self.nodes:
            result = self._call(node, values, change)
            if watch is not None:
                watch(node, result)
            for index, tensor in zip(node.outputs, tensors_in(result), strict=True):
                values[index] = tensor
        return values[self.slot] / self.scale

    def _call(self, node: Node, values: dict[int, Tensor], change: Change | None) -> Any:
        changed = change if node.module is not None else None

        def fill(slot: _Slot) -> Tensor:
            tensor = values[slot.index]
            return changed(tensor) if changed is not None and slot.index in self.data else tensor

        args, kwargs = _mapped((node.args, node.kwargs), fill, _Slot)
        with node.circumstances.again():
            call = node.module if node.module is not None else node.function
            assert call is not None
            return call(*args, **kwargs)

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


def _mapped(value: Any, make: Callable[[Any], Any], kind: type = Tensor) -> Any:
    """A structure with every object of a kind replaced; what holds none stays the same object."""
    if isinstance(value, kind):
        return make(value)
    if isinstance(value, (list, tuple)):
        items = [_mapped(item, make, kind) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        entries = {key: _mapped(item, make, kind) for key, item in value.items()}
        if all(entries[key] is item for key, item in value.items()):
            return value
        made = copy.copy(value)
        made.update(entries)  # type: ignore[attr-defined]
        return made
    if isinstance(value, slice):
        return slice(*(_mapped(part, make, kind) for part in (value.start, value.stop, value.step)))
    return value


def _unwrapped(module: nn.Module) -> nn.Module:
    inner = getattr(module, "module", None)
    return inner if type(module).__name__ in REPLICATED and isinstance(inner, nn.Module) else module


def _strip(module: nn.Module) -> None:
    """Take the user's own functions off a copy: they may keep what they are shown."""
    for name in _HOOKS:
        hooks = vars(module).get(name)
        if hooks:
            for key in [key for key, hook in hooks.items() if isinstance(hook, FunctionType)]:
                del hooks[key]
