"""clip-before-step and raise-threshold: clipping that works, and no more of it than is good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst
import numpy as np

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Clip
from vivavoce.record.run import Run
from vivavoce.remedy import live, steps
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.optimizers import optimizers_of, place, rounded
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source, method_of

NET = 0.99  # quantile of the run's own norms: clipping as a safety net
FUNCTIONS = ("clip_grad_norm_", "clip_grad_value_")


class ClipBeforeStep(Remedy):
    """Backward, clip, step: in this order."""

    name = "clip-before-step"
    treats = ("clip-after-step",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """The place that clips too late, and the step of the optimizer."""
        for clip in run.clips.values():
            for optimizer in optimizers_of(run, finding)[:1]:
                if clip.after_step and clip.site and optimizer.step_site:
                    where = place(clip.site, step=place(optimizer.step_site), made=place(optimizer.site))
                    yield Prescription(self.name, finding.slug, "clip before the step", {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Evaluate the clipping's arguments when the step begins, and let the late call do nothing."""
        import torch

        where = prescription.where
        source = source_of(where)
        try:
            call, step = _pair(source, where)
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        late = live.Places(str(source.path), [source.end_place(call)])
        early = live.Places(str(source.path), [source.end_place(step)])
        doing = [False]

        def act(optimizer: Any, args: Any, kwargs: Any) -> None:
            frame = live.caller(1, optimizer)
            if frame is not None and early.hold(frame):
                doing[0] = True
                try:
                    live.evaluate(frame, source.code(call))
                finally:
                    doing[0] = False

        def clip(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs) if doing[0] else torch.zeros(())

        for function in FUNCTIONS:
            live.on_function([torch.nn.utils], function, late.hold, clip)
        live.before_step(act)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Move the line."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            call, step = _pair(source, where)
            statement, target = source.statement(call), source.statement(step)
            if not isinstance(statement, cst.Expr) or not isinstance(target, cst.BaseSmallStatement):
                raise CannotEditError("the result of the clipping is used, or the step is part of a larger statement")
            changes.before(target, [source.code(statement)])
            changes.remove_statement(statement)
            return changes.edit()
        except CannotEditError as error:
            return Words("move the clipping before the step", str(error), where.get("file"), where.get("line"))


def _pair(source: Source, where: Mapping[str, Any]) -> tuple[cst.Call, cst.Call]:
    calls = [call for call in source.calls_at(where["line"]) if _clips(source, call)]
    if not calls:
        raise CannotEditError(f"no clipping is seen at line {where['line']}")
    step = steps.step_call(source, where["step"]["line"])
    if source.function(step) is not source.function(calls[0]):
        raise CannotEditError("the gradients are clipped in one function, and the step is in another")
    return calls[0], step


def _clips(source: Source, call: cst.Call) -> bool:
    name = method_of(call) or source.code(call.func)
    return name in FUNCTIONS


class RaiseThreshold(Remedy):
    """Clip where 99 % of the run's own norms lie below."""

    name = "raise-threshold"
    treats = ("always-clipped", "learning-rate-too-low")
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the place that clips nearly everything; the run's quantile, then the usual 1."""
        for clip in run.clips.values():
            if clip.function == "clip_grad_norm_" and clip.site is not None:
                for value in _values(run, clip):
                    title = f"clip at {value:g} instead of {clip.threshold:g}"
                    yield Prescription(self.name, finding.slug, title, {"max_norm": value}, place(clip.site))

    def apply(self, prescription: Prescription) -> None:
        """Give the function the other threshold at this line."""
        import torch

        def clip(original: Callable[..., Any], parameters: Any, *args: Any, **kwargs: Any) -> Any:
            if args:
                return original(parameters, prescription.numbers["max_norm"], *args[1:], **kwargs)
            return original(parameters, **{**kwargs, "max_norm": prescription.numbers["max_norm"]})

        live.on_function([torch.nn.utils], "clip_grad_norm_", lambda frame: live.is_at(frame, prescription.where), clip)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the number where it is written."""
        where, value = prescription.where, prescription.numbers["max_norm"]
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            calls = [call for call in source.calls_at(where["line"]) if _clips(source, call)]
            if not calls:
                raise CannotEditError(f"no clipping is seen at line {where['line']}")
            changes.set_number(calls[0], "max_norm", value, 1)
            return changes.edit()
        except CannotEditError as error:
            return Words(f"max_norm={written(value)}", str(error), where.get("file"), where.get("line"))


def _values(run: Run, clip: Clip) -> list[float]:
    norms = run.series("clip", ("clip", clip.id), "norm_before").finite
    values = [rounded(float(np.quantile(norms.mean, NET)))] if len(norms) else []
    return [value for value in dict.fromkeys([*values, 1.0]) if value > clip.threshold]
