"""full-precision, bfloat16 and grad-scaler: gradients that do not underflow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live, steps
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.optimizers import optimizer_call, optimizers_of, place, variable_of
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite, source_of
from vivavoce.remedy.source import Source


class Autocast(Remedy):
    """Another argument for every `torch.autocast` of the script."""

    @abstractmethod
    def argument(self) -> tuple[str, str]:
        """Keyword and code."""

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the file of the training uses autocast."""
        for optimizer in optimizers_of(run, finding)[:1]:
            site = optimizer.step_site or optimizer.site
            source = Source.read(site.file) if site is not None else None
            if site is not None and source is not None and source.calls("autocast"):
                keyword, code = self.argument()
                yield Prescription(self.name, finding.slug, f"autocast with {keyword}={code}", {}, place(site))

    def apply(self, prescription: Prescription) -> None:
        """Set the argument where autocast is entered."""
        import torch

        source = source_of(prescription.where)
        keyword, code = self.argument()
        value = {"False": False, "torch.bfloat16": torch.bfloat16}[code]
        places = live.Places(str(source.path), [source.end_place(call) for call in source.calls("autocast")])

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def init(made: Any, *args: Any, **kwargs: Any) -> None:
                original(made, *args, **({**kwargs, keyword: value} if places.hold(live.caller(1, made)) else kwargs))

            return init

        live.wrap(torch.autocast, "__init__", make)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Set the argument in the calls."""
        where, (keyword, code) = prescription.where, self.argument()
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for call in source.calls("autocast"):
                changes.set_argument(call, keyword, code)
            if "torch" in code:
                changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            return Words(f"torch.autocast(…, {keyword}={code})", str(error), where.get("file"), where.get("line"))


class FullPrecision(Autocast):
    """No half precision."""

    name = "full-precision"
    treats = ("non-finite", "amp-underflow")
    rank = 30

    def argument(self) -> tuple[str, str]:
        """Autocast, but off."""
        return "enabled", "False"


class Bfloat16(Autocast):
    """A half precision with the range of float32 (Kalamkar et al. 2019)."""

    name = "bfloat16"
    treats = ("non-finite", "amp-underflow")
    rank = 29

    def argument(self) -> tuple[str, str]:
        """The other type."""
        return "dtype", "torch.bfloat16"


class GradScaler(Remedy):
    """Scales the loss before `backward()`, so that small gradients stay in the range of half precision."""

    name = "grad-scaler"
    treats = ("amp-underflow",)
    rank = 20

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the step is one that no scaler takes yet."""
        for optimizer in optimizers_of(run, finding)[:1]:
            site = optimizer.step_site
            source = Source.read(site.file) if site is not None else None
            if site is not None and source is not None and source.calls("autocast") and "GradScaler" not in source.text:
                where = place(site, made=place(optimizer.site), optimizer=optimizer.class_name)
                yield Prescription(self.name, finding.slug, "scale the loss with a GradScaler", {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the scaler."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Make it behind the optimizer, and let it take the backward pass and the step."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            call = optimizer_call(source, where["made"]["line"], where.get("optimizer", ""))
            step = steps.step_call(source, where["line"])
            backward = steps.first_backward(source, step)
            statement = source.statement(call)
            if backward is None or statement is None or source.function(call) is not source.function(step):
                raise CannotEditError("optimizer, backward pass and step are not in one function")
            _write(changes, source, step, backward)
            changes.after(statement, [f'scaler = torch.amp.GradScaler("{_device(source)}")'])
            variable_of(source, call)
            changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            text = "scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()"
            return Words(text, str(error), where.get("file"), where.get("line"))


def _write(changes: Changes, source: Source, step: cst.Call, backward: cst.Call) -> None:
    statement = source.statement(step)
    if not isinstance(statement, cst.BaseSmallStatement) or not isinstance(backward.func, cst.Attribute) or step.args:
        raise CannotEditError("the step is given a closure")
    changes.replace(backward.func.value, f"scaler.scale({source.code(backward.func.value)})")
    changes.replace(step, f"scaler.step({steps.optimizer_expression(source, step)})")
    changes.after(statement, ["scaler.update()"])


def _device(source: Source) -> str:
    call = source.calls("autocast")[0]
    first = source.code(call.args[0].value) if call.args else ""
    return "cpu" if "cpu" in first else "cuda"
