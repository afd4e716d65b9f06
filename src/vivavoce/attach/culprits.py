"""Names the operation that made a NaN or an infinity, by repeating a step on a copy and looking at every result."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vivavoce.attach.graph import leaf_of, line_of, walk
from vivavoce.attach.registry import plain_name
from vivavoce.attach.rehearsal import Node, Rehearsal
from vivavoce.attach.sites import is_library, site_of
from vivavoce.attach.structures import tensors_in
from vivavoce.record.entities import Site

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

MAKERS = frozenset(
    {"full", "full_like", "masked_fill", "masked_fill_", "fill", "fill_", "scalar_tensor", "where", "lift_fresh", "empty",
     "empty_like", "new_full", "_to_copy", "clone", "expand", "zeros", "copy_", "slice", "triu", "tril"}
)  # operations that put infinities into masks on purpose, or pass them on  # fmt: skip


@dataclass(frozen=True)
class Made:
    """An operation whose result was not finite, and what of its inputs was not."""

    op: str
    result: Tensor
    inputs: tuple[Tensor, ...]
    site: Site | None
    module: nn.Module | None  # of the twin's

    @property
    def nan(self) -> bool:
        """It put out a NaN where none was put in."""
        return _has_nan(self.result) and not any(map(_has_nan, self.inputs))


def forward_culprit(session: Session, rehearsal: Rehearsal) -> dict[str, Any] | None:
    """The operation that first made what the loss is broken by; None where the repeated loss is finite."""
    watcher = _Watcher(rehearsal)
    rehearsal.random.restore()
    with watcher.following(), watcher:
        loss = rehearsal.loss()
    if bool(torch.isfinite(loss.detach()).all()):
        return None
    made = watcher.origin()
    if made is None:
        return {"what": "input", "detail": "it was handed to the model"} if _data_broken(rehearsal) else {}
    node = made.result.grad_fn
    op = node.name() if node is not None else "".join(p.title() for p in made.op.strip("_").split("_")) + "Backward0"
    detail = "its result is not finite although its inputs are"
    if made.inputs:
        detail = "its result is NaN, and its inputs hold infinities"
    return {"op": op, "detail": detail} | watcher.place(session, made.site, made.module)


def backward_culprit(session: Session, rehearsal: Rehearsal) -> dict[str, Any] | None:
    """The operation whose backward first put out something that is not finite; None where none did."""
    watcher = _Watcher(rehearsal)
    rehearsal.random.restore()
    spans: list[tuple[int, int, Node]] = []
    with watcher.following(), torch.autograd.set_detect_anomaly(True, check_nan=False):
        begun = _sequence_number()

        def span(node: Node, result: Any) -> None:
            nonlocal begun
            ended = _sequence_number()
            spans.append((begun, ended, node))
            begun = ended

        loss = rehearsal.loss(watch=span)
    found: list[Any] = []
    handles = [node.register_hook(_Judge(node, found)) for node in walk(loss)[0] if leaf_of(node) is None]
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        return None
    node = found[0]
    number = node._sequence_nr()
    call = next((call for first, last, call in spans if first <= number < last), None)
    site, code = line_of(node)
    if call is not None and call.module is None:
        site, code = call.site, ""
    module = watcher.module_at(number)
    return {"op": node.name(), "detail": "its derivative is not finite"} | watcher.place(session, site, module, code)


class _Watcher(TorchDispatchMode):
    """Keeps every result that is not finite, with the line and the module that made it."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rehearsal = rehearsal
        self.made: list[Made] = []
        self._bad: dict[int, Tensor] = {}
        self._inside: list[nn.Module] = []
        self._calls: list[tuple[int, int, nn.Module]] = []  # first and last sequence number of each module's call

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        broken = tuple(t for t in tensors_in((args, kwargs or {})) if _broken(t))
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            if _broken(tensor):
                name = func.overloadpacket.__name__
                module = self._inside[-1] if self._inside else None
                self.made.append(Made(name, tensor, broken, self._site(), module))
        return result

    def _site(self) -> Site | None:
        node = self.rehearsal.current
        if node is None or node.module is None:
            return None if node is None else node.site
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and is_library(frame.f_code.co_filename):
            frame = frame.f_back
        return None if frame is None else site_of(frame)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Know which module is at work inside the block."""
        handles = []
        started: list[int] = []

        def enter(module: nn.Module, args: Any) -> None:
            self._inside.append(module)
            started.append(_sequence_number())

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if self._inside:
                self._calls.append((started.pop(), _sequence_number(), self._inside.pop()))

        for root in self.rehearsal.twin.roots:
            for module in root.modules():
                handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def module_at(self, number: int) -> nn.Module | None:
        """The innermost module whose call made the operation with this sequence number."""
        around = [(last - first, module) for first, last, module in self._calls if first <= number < last]
        return min(around, key=lambda call: call[0])[1] if around else None

    def origin(self) -> Made | None:
        """From the last broken result back to the operation that began it; None where nothing of the step's own did."""
        by_result = {id(made.result): made for made in self.made}
        made = self.made[-1] if self.made else None
        for _ in range(len(self.made)):
            assert made is not None
            inputs = sorted(made.inputs, key=lambda t: not _has_nan(t))
            behind = [by_result[id(t)] for t in inputs if id(t) in by_result and by_result[id(t)] is not made]
            if made.nan:
                behind = [b for b in behind if b.op not in MAKERS]
            if not behind:
                break
            made = behind[0]
        if made is None or (made.inputs and not made.nan):
            return None
        return made

    def place(self, session: Session, site: Site | None, module: nn.Module | None, code: str = "") -> dict[str, Any]:
        """Where an operation stands, as the event has it."""
        data: dict[str, Any] = {}
        if site is not None:
            code = code or linecache.getline(site.file, site.line).strip()
            data |= {"file": site.file, "line": site.line, "code": code}
        original = None if module is None else self.rehearsal.twin.originals.get(id(module))
        known = None if original is None else session.registry.module(original)
        if known is not None:
            names = {id(m): name for name, m in (known[0].root() or original).named_modules()}  # type: ignore[union-attr]
            data |= {"module": known[1], "layer": plain_name(names.get(id(original), ""))}
        return {key: value for key, value in data.items() if value != ""}


class _Judge:
    """A hook of an operation's backward: notes the operation where it puts out something broken and was given nothing such."""

    def __init__(self, node: Any, found: list[Any]) -> None:
        self.node, self.found = node, found

    def __call__(self, outputs: Any, inputs: Any) -> None:
        if not self.found and any(map(_broken, tensors_in(outputs))) and not any(map(_broken, tensors_in(inputs))):
            self.found.append(self.node)


def _sequence_number() -> int:
    """The number that the next operation in a graph will have."""
    return int(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]


def _data_broken(rehearsal: Rehearsal) -> bool:
    return any(map(_broken, rehearsal.data.values()))


def _broken(value: Tensor) -> bool:
    if value.is_sparse or value.is_meta or not (value.is_floating_point() or value.is_complex()):
        return False
    return not bool(torch.isfinite(value.detach()).all())


def _has_nan(value: Tensor) -> bool:
    return bool(torch.isnan(value.detach()).any())
