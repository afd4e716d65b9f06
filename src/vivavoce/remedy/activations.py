"""Activations in the source: modules and functions, those that make the output, and others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import libcst as cst

from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes
from vivavoce.remedy.source import Source, method_of

CLASSES = {
    "softmax": "Softmax", "log_softmax": "LogSoftmax", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU",
    "selu": "SELU", "gelu": "GELU", "leaky_relu": "LeakyReLU", "softplus": "Softplus", "elu": "ELU",
    "threshold": "Threshold", "hardtanh": "Hardtanh",
}  # fmt: skip
IN_TORCH = ("softmax", "log_softmax", "sigmoid", "tanh", "relu", "selu")  # torch.tanh and x.tanh() exist as well


@dataclass(frozen=True)
class Use:
    """An activation in the source: a call of a function or method, or a mention of a module's class."""

    kind: str  # "tanh"
    node: cst.BaseExpression  # the whole call; for classes the call that constructs, or the name where it is not called
    how: str  # "function", "method", "module" or "class"

    @property
    def called(self) -> bool:
        """Whether it is a call that a running frame can be matched with."""
        return self.how != "class"


def uses_of(source: Source, kinds: Iterable[str]) -> list[Use]:
    """All uses of these activations in a file, in the order of the text."""
    kinds = list(kinds)
    classes = {CLASSES[kind]: kind for kind in kinds}
    found = []
    for call in source.all(cst.Call):
        if kind := _function(source, call, kinds):
            found.append(Use(kind, call, "function"))
        elif (
            method_of(call) in kinds
            and method_of(call) in IN_TORCH
            and not source.names(call.func) - _unknown(source, call)
        ):
            found.append(Use(method_of(call), call, "method"))
    for node in [*source.all(cst.Attribute), *source.all(cst.Name)]:
        kind = next((k for name, k in classes.items() if source.is_torch(node, name)), None)
        above = source.parent(node)
        if kind is None or isinstance(above, cst.Attribute) or _in_import(source, node) or _annotates(source, node):
            continue
        called = isinstance(above, cst.Call) and above.func is node
        found.append(Use(kind, above, "module") if called else Use(kind, node, "class"))  # type: ignore[arg-type]
    return sorted(found, key=lambda use: source.span(use.node))


def _function(source: Source, call: cst.Call, kinds: list[str]) -> str | None:
    return next((kind for kind in kinds if call.args and source.is_torch(call.func, kind)), None)


def _unknown(source: Source, call: cst.Call) -> set[str]:
    """Names that are none of PyTorch's own: `x.tanh` of a variable."""
    return {name for name in source.names(call.func) if not name.startswith("torch.")}


def _in_import(source: Source, node: cst.CSTNode) -> bool:
    return source.around(node, cst.Import, cst.ImportFrom) is not None


def _annotates(source: Source, node: cst.CSTNode) -> bool:
    return source.around(node, cst.Annotation) is not None


# outputs --------------------------------------------------------------------------------------------------------------


def is_output(source: Source, use: Use) -> bool:
    """Whether an activation comes last: in a Sequential, a list of layers, or what `forward` returns."""
    if use.how in ("function", "method"):
        return isinstance(source.parent(use.node), (cst.Return, cst.Lambda))
    around = source.parent(use.node)
    if isinstance(around, cst.Arg):
        call = source.parent(around)
        return (
            isinstance(call, cst.Call)
            and source.is_torch(call.func, "Sequential")
            and call.args[-1] is around
            and (not _is_inside_another(source, call))
        )
    if isinstance(around, cst.Element):
        row = source.parent(around)
        return isinstance(row, (cst.List, cst.Tuple)) and row.elements[-1] is around and not _goes_on(source, row)
    return False


def _is_inside_another(source: Source, call: cst.Call) -> bool:
    above = source.parent(call)
    outer = source.parent(above) if isinstance(above, cst.Arg) else None
    return isinstance(outer, cst.Call) and source.is_torch(outer.func, "Sequential") and outer.args[-1] is not above


def _goes_on(source: Source, row: cst.BaseExpression) -> bool:
    """Whether more is added behind a list of layers: it stands in a loop, or its variable grows later."""
    if source.around(row, cst.For) is not None or source.around(row, cst.ListComp, cst.GeneratorExp) is not None:
        return True
    statement = source.statement(row)
    if isinstance(statement, cst.Assign):
        name = source.code(statement.targets[0].target)
    elif isinstance(statement, cst.AugAssign):
        name = source.code(statement.target)
    else:
        return False
    end = source.span(row)[1]
    grows = [source.code(node.target) for node in source.all(cst.AugAssign) if source.span(node)[0] > end]
    grows += [
        source.code(call.func.value)
        for call in source.methods("append", "extend")
        if isinstance(call.func, cst.Attribute) and source.span(call)[0] > end
    ]
    return name in grows


def gates(source: Source, use: Use) -> bool:
    """Whether a function's result is multiplied with something, as a gate is."""
    above = source.parent(use.node)
    return (
        use.how in ("function", "method")
        and isinstance(above, cst.BinaryOperation)
        and isinstance(above.operator, cst.Multiply)
    )


# other code in their place --------------------------------------------------------------------------------------------


def replace(changes: Changes, use: Use, kind: str | None) -> None:
    """Write another activation, or none, in the place of one.

    Raises:
        CannotEditError: it is used in a way that no other activation is.
    """
    source = changes.source
    if use.how in ("function", "method"):
        changes.replace(use.node, _call_of(changes, use, kind))
        return
    name = CLASSES[kind] if kind else "Identity"
    func = use.node.func if isinstance(use.node, cst.Call) else use.node
    if isinstance(func, cst.Attribute):
        new = f"{source.code(func.value)}.{name}"
    else:
        changes.need(name, f"from torch.nn import {name}")
        new = name
    changes.replace(use.node, f"{new}()" if use.how == "module" else new)


def _call_of(changes: Changes, use: Use, kind: str | None) -> str:
    source = changes.source
    call = use.node
    assert isinstance(call, cst.Call)
    if use.how == "method":
        assert isinstance(call.func, cst.Attribute)
        operand: cst.BaseExpression = call.func.value
    else:
        if call.args[0].keyword is not None or call.args[0].star:
            raise CannotEditError("the activation's argument is given by name")
        operand = call.args[0].value
    code = source.code(operand)
    if kind is None:
        simple = isinstance(operand, (cst.Name, cst.Attribute, cst.Call, cst.Subscript))
        return code if simple else f"({code})"
    if use.how == "function" and isinstance(call.func, cst.Attribute) and _has(source, call.func.value, kind):
        return f"{source.code(call.func.value)}.{kind}({code})"
    changes.need("torch", "import torch")
    return f"torch.nn.functional.{kind}({code})"


def _has(source: Source, owner: cst.BaseExpression, kind: str) -> bool:
    """Whether `owner.kind` exists: `torch.gelu` does not."""
    return "torch.nn.functional" in source.names(owner) or kind in IN_TORCH


# the same in a live trial ---------------------------------------------------------------------------------------------


def apply(
    source: Source, uses: list[Use], kind: str | None, everywhere: Iterable[str] = (), spared: Iterable[Use] = ()
) -> None:
    """Let the activations at these places be another kind, or nothing at all.

    With `everywhere`, every use of those kinds in the file but the `spared` ones, also those whose class is handed about.
    """
    import torch

    file = str(source.path)
    chosen = live.Places(file, [source.end_place(use.node) for use in uses if use.called])
    others = live.Places(file, [source.end_place(use.node) for use in spared if use.called])
    kinds = set(everywhere)

    def holds(of: str) -> Callable[[FrameType | None], bool]:
        if of in kinds:
            return lambda frame: (
                frame is not None and live.same_file(frame.f_code.co_filename, file) and not others.hold(frame)
            )
        return chosen.hold

    for of in kinds | {use.kind for use in uses}:
        _switch(getattr(torch.nn, CLASSES[of]), getattr(torch.nn, CLASSES[kind] if kind else "Identity"), holds(of))
        owners = [torch.nn.functional, *([torch, torch.Tensor] if of in IN_TORCH else [])]
        live.on_function(owners, of, chosen.hold, _other(kind))


def _other(kind: str | None) -> Callable[..., Any]:
    import torch

    if kind is None:
        return lambda original, x, *args, **kwargs: x
    function = getattr(torch.nn.functional, kind)
    return lambda original, x, *args, **kwargs: function(x)


def _switch(cls: Any, other: Any, places: Callable[[FrameType | None], bool]) -> None:
    def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
        made.__class__ = other
        other.__init__(made)

    live.on_construction(cls, places, build)
