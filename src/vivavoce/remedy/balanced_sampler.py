"""balanced-sampler: draw rare classes more often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live, loaders
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.inputs import tensors_of
from vivavoce.remedy.optimizers import place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source


class BalancedSampler(Remedy):
    """A `WeightedRandomSampler` by the inverse of the classes' frequencies."""

    name = "balanced-sampler"
    treats = ("class-ignored", "class-imbalance")
    rank = 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For loaders of tensors."""
        for loader in loaders.training(run)[:1]:
            yield Prescription(self.name, finding.slug, "draw every class equally often", {}, place(loader.site))

    def apply(self, prescription: Prescription) -> None:
        """Give the loader the sampler."""
        import torch

        where = prescription.where
        source = source_of(where)
        try:
            code = _sampler(tensors_of(source, loaders.loader_call(source, where["line"])))
        except CannotEditError as error:
            raise RemedyError(str(error)) from None

        def change(given: dict[str, Any], frame: FrameType) -> None:
            frame.f_globals.setdefault("torch", torch)
            given.pop("shuffle", None)
            given["sampler"] = live.evaluate(frame, code)

        loaders.on_loader(where, change)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """`sampler=` in the place of `shuffle=`."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            call = loaders.loader_call(source, where["line"])
            code = _sampler(tensors_of(source, call))
            parts = [source.code(arg) for i, arg in enumerate(call.args) if not _shuffles(source, arg, i)]
            changes.replace(call, f"{source.code(call.func)}({', '.join(parts)}, sampler={code})")
            changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            text = "WeightedRandomSampler(1 / counts[target], len(target))"
            return Words(text, str(error), where.get("file"), where.get("line"))


def _shuffles(source: Source, arg: Any, index: int) -> bool:
    return arg.keyword.value == "shuffle" if arg.keyword is not None else index == 2


def _sampler(dataset: str) -> str:
    target = f"{dataset}.tensors[1].long()"
    return f"torch.utils.data.WeightedRandomSampler((1.0 / torch.bincount({target}))[{target}], len({dataset}))"
