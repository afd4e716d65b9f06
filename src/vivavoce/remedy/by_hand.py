"""Training steps written by hand: `w -= rate * w.grad`. Their rate, and the clearing of their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import libcst as cst

from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, written
from vivavoce.remedy.constants import Constant, follow
from vivavoce.remedy.source import Source


def optimizer_by_hand(run: Run) -> Optimizer | None:
    """What stands for the script's own updates where no optimizer of PyTorch's was seen to step."""
    if any(optimizer.class_name for optimizer in run.optimizers.values()):
        return None
    return next((optimizer for optimizer in run.optimizers.values() if optimizer.site is None), None)


def files(run: Run) -> list[str]:
    """The files with backward passes."""
    sites = [loss.site for loss in run.losses.values() if loss.source == "backward"]
    return list(dict.fromkeys(site.file for site in sites if site is not None))


def place_of_update(run: Run) -> tuple[Source, cst.AugAssign] | None:
    """The first statement that moves a weight against its gradient."""
    for file in files(run):
        source = Source.read(file)
        found = updates(source) if source is not None else []
        if source is not None and found:
            return source, found[0]
    return None


def updates(source: Source) -> list[cst.AugAssign]:
    """Statements `w -= … * w.grad`."""
    return [
        node
        for node in source.all(cst.AugAssign)
        if isinstance(node.operator, cst.SubtractAssign) and ".grad" in source.code(node.value)
    ]


def rate_of(source: Source, update: cst.AugAssign) -> Constant:
    """The number that the gradient is multiplied with.

    Raises:
        CannotEditError: it is computed.
    """
    value = update.value
    if isinstance(value, cst.BinaryOperation) and isinstance(value.operator, cst.Multiply):
        for side in (value.left, value.right):
            constant = follow(source, side)
            if constant is not None:
                return constant
    raise CannotEditError("the learning rate of the update is computed")


def where_of(run: Run) -> Iterator[tuple[dict[str, Any], float]]:
    """The place of the update as a prescription has it, and its rate."""
    found = place_of_update(run)
    if found is not None:
        source, update = found
        try:
            yield (
                {"file": str(source.path), "line": source.line(update), "by_hand": True},
                rate_of(source, update).value,
            )
        except CannotEditError:
            return


def set_rate(changes: Changes, rate: float) -> None:
    """Change the number where it is written.

    Raises:
        CannotEditError: there is no update by hand, or its rate is computed.
    """
    found = updates(changes.source)
    if not found:
        raise CannotEditError("no update by hand is seen")
    changes.replace(rate_of(changes.source, found[0]).node, written(rate))


def clear(changes: Changes) -> None:
    """Forget each gradient behind the statement that used it.

    Raises:
        CannotEditError: there is no update by hand.
    """
    found = updates(changes.source)
    if not found:
        raise CannotEditError("no update by hand is seen")
    for update in found:
        changes.after(update, [f"{changes.source.code(update.target).removesuffix('.data')}.grad = None"])
