"""match-shapes: predictions in the shape of their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.loss_calls import loss_calls, replace_losses
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.source import Source, argument

PREDICTION, TARGET = ("input", 0), ("target", 1)  # arguments of every loss function


class MatchShapes(Remedy):
    """Reshapes what a loss compares, wherever the run has seen two shapes of the same size."""

    name = "match-shapes"
    treats = ("target-broadcast",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """All calls with such shapes at once, those of the validation too."""
        losses = [loss for loss in run.losses.values() if _mismatched(loss)]
        here = [
            ls for ls in losses if ls.site and (ls.site.file, ls.site.line) == (finding.where.file, finding.where.line)
        ]
        if not here:
            return
        lines = sorted({ls.site.line for ls in losses if ls.site and ls.site.file == finding.where.file})
        functions = sorted({loss.function for loss in losses})
        where = {"file": finding.where.file, "line": finding.where.line, "lines": lines, "functions": functions}
        title = f"predictions {here[0].prediction_shape} in the shape of the targets {here[0].target_shape}"
        yield Prescription(self.name, finding.slug, title, {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Reshape the predictions on their way into the loss function."""

        def reshaped(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            given = dict(zip(("input", "target"), args, strict=False)) | kwargs
            prediction, target = given["input"], given["target"]
            if prediction.shape != target.shape and prediction.numel() == target.numel():
                prediction = prediction.reshape(target.shape)
            rest = {key: value for key, value in given.items() if key not in ("input", "target")}
            return original(prediction, target, *args[2:], **rest)

        replace_losses(self, prescription, reshaped)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """`.reshape(target.shape)` behind the predictions."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for call in loss_calls(source, where):
                _write(changes, source, call)
            return changes.edit()
        except CannotEditError as error:
            text = "loss(prediction.reshape(target.shape), target)"
            return Words(text, str(error), where.get("file"), where.get("line"))


def _mismatched(loss: Loss) -> bool:
    sizes = [_size(shape) for shape in (loss.prediction_shape, loss.target_shape)]
    return loss.source == "function" and loss.prediction_shape != loss.target_shape and sizes[0] == sizes[1] > 1


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _write(changes: Changes, source: Source, call: cst.Call) -> None:
    prediction, target = argument(call, *PREDICTION), argument(call, *TARGET)
    if prediction is None or target is None:
        raise CannotEditError("which argument is the target cannot be told")
    shape = source.code(target.value)
    if not isinstance(target.value, (cst.Name, cst.Attribute, cst.Subscript)):
        if not isinstance(prediction.value, (cst.Name, cst.Attribute)):
            raise CannotEditError("predictions and targets are both computed inside the call")
        changes.replace(target.value, f"({shape}).reshape({source.code(prediction.value)}.shape)")
        return
    code = source.code(prediction.value)
    simple = isinstance(prediction.value, (cst.Name, cst.Attribute, cst.Call, cst.Subscript))
    changes.replace(prediction.value, f"{code if simple else f'({code})'}.reshape({shape}.shape)")
