"""The training step in the source: where an optimizer steps, and the backward passes that lead to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import libcst as cst

from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError
from vivavoce.remedy.source import Source, method_of


def step_call(source: Source, line: int) -> cst.Call:
    """The call of `step` at a line: `optimizer.step()` or `scaler.step(optimizer)`.

    Raises:
        CannotEditError: there is none.
    """
    found = [call for call in source.calls_at(line) if method_of(call) == "step"]
    if not found:
        raise CannotEditError(f"there is no call of step() at line {line}")
    return found[0]


def optimizer_expression(source: Source, step: cst.Call) -> str:
    """The optimizer that a call steps: `scaler.step(optimizer)` steps its argument."""
    if step.args and step.args[0].keyword is None and isinstance(step.args[0].value, (cst.Name, cst.Attribute)):
        code = source.code(step.args[0].value)
        if "closure" not in code and closure_of(source, step) is None:
            return code
    assert isinstance(step.func, cst.Attribute)
    return source.code(step.func.value)


def closure_of(source: Source, step: cst.Call) -> cst.FunctionDef | None:
    """The function that `optimizer.step(function)` calls, where it is defined around the step or at the top of the file."""
    given = step.args[0].value if step.args and step.args[0].keyword is None else None
    if not isinstance(given, cst.Name):
        return None
    scopes = (*(a for a in source.ancestors(step) if isinstance(a, cst.FunctionDef)), None)
    found = [
        node
        for node in source.all(cst.FunctionDef)
        if node.name.value == given.value and source.function(source.parent(node) or node) in scopes
    ]
    return found[0] if len(found) == 1 else None


def scaler_expression(source: Source, step: cst.Call) -> str | None:
    """The GradScaler of `scaler.step(optimizer)`; None where the optimizer steps by itself."""
    assert isinstance(step.func, cst.Attribute)
    owner = source.code(step.func.value)
    return owner if optimizer_expression(source, step) != owner else None


def first_backward(source: Source, step: cst.Call) -> cst.Call | None:
    """The first backward call since the step before, in the same block as a step or in its closure; None where there is none."""
    closure = closure_of(source, step)
    if closure is not None:
        return next(iter(source.methods("backward", within=closure)), None)
    block = source.around(step, cst.IndentedBlock, cst.Module)
    if block is None:
        return None
    end = source.span(step)[0]
    calls = [call for call in source.methods("backward", "step", within=block) if source.span(call)[0] < end]
    calls = [call for call in calls if source.around(call, cst.IndentedBlock, cst.Module) is block]
    found = None
    for call in reversed(calls):
        if method_of(call) == "step":
            if _is_scheduler(source, call):
                continue
            break
        found = call
    return found


def _is_scheduler(source: Source, call: cst.Call) -> bool:
    assert isinstance(call.func, cst.Attribute)
    return "sched" in source.code(call.func.value).lower()


class Stepped:
    """The optimizers that step at a line, learned as they do; and those of an expression, found in a frame."""

    def __init__(self, where: Mapping[str, Any]) -> None:
        self._where = where
        self._made = live.Held(where["made"]) if "line" in where.get("made", {}) else None

    def __contains__(self, optimizer: Any) -> bool:
        if self._made is not None:
            return optimizer in self._made
        return live.is_at(live.caller(1, optimizer), self._where)

    def clear(self, frame: FrameType | None, expression: str) -> None:
        """Clear the gradients of the optimizer that an expression stands for in a frame."""
        if frame is not None:
            live.evaluate(frame, expression).zero_grad()


def statements_of(source: Source, block: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The statements of a block, simple ones one by one."""
    for line in getattr(block, "body", ()):
        yield from line.body if isinstance(line, cst.SimpleStatementLine) else [line]
