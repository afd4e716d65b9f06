"""l1: a penalty on the size of the weights, added to the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live, steps
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.optimizers import optimizers_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source

STRENGTHS = (1e-4, 1e-3)


class L1(Remedy):
    """The sum of the weights' absolute values (Tibshirani 1996), before the first backward pass of each step."""

    name = "l1"
    treats = ("exploding-gradients", "overfitting", "stopped-too-late")
    rank = 81
    late = True

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Two strengths."""
        for optimizer in optimizers_of(run, finding)[:1]:
            if optimizer.step_site is not None and not optimizer.closure:
                for strength in STRENGTHS:
                    where = place(optimizer.step_site)
                    yield Prescription(
                        self.name, finding.slug, f"an L1 penalty of {strength:g}", {"strength": strength}, where
                    )

    def apply(self, prescription: Prescription) -> None:
        """Add it to the tensor that `backward` is given."""
        where, strength = prescription.where, prescription.numbers["strength"]
        source = source_of(prescription.where)
        try:
            backward, optimizer = _place(source, where["line"])
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        places = live.Places(str(source.path), [source.end_place(backward)])
        penalty = _penalty(optimizer, strength)

        def change(loss: Any, frame: FrameType | None) -> Any:
            return loss + live.evaluate(frame, penalty) if frame is not None and places.hold(frame) else loss

        live.on_backward(change)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """One line before `backward()`."""
        where, strength = prescription.where, prescription.numbers["strength"]
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            backward, optimizer = _place(source, where["line"])
            statement = source.statement(backward)
            if not isinstance(statement, cst.BaseSmallStatement) or not isinstance(backward.func, cst.Attribute):
                raise CannotEditError("the backward pass is part of a larger statement")
            loss = source.code(backward.func.value)
            changes.replace(backward.func.value, f"({loss} + {_penalty(optimizer, strength)})")
            return changes.edit()
        except CannotEditError as error:
            text = f"loss = loss + {written(strength)} * sum(p.abs().sum() for p in model.parameters())"
            return Words(text, str(error), where.get("file"), where.get("line"))


def _place(source: Source, line: int) -> tuple[cst.Call, str]:
    step = steps.step_call(source, line)
    backward = steps.first_backward(source, step)
    if backward is None:
        raise CannotEditError("the backward pass stands elsewhere than the step")
    return backward, steps.optimizer_expression(source, step)


def _penalty(optimizer: str, strength: float) -> str:
    weights = f'for group in {optimizer}.param_groups for p in group["params"]'
    return f"{written(strength)} * sum(p.abs().sum() {weights})"
