"""momentum and layer-norm: normalisation that is the same in training and in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.dropout import files_of
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source, argument

KINDS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
MOMENTUM = 0.1  # PyTorch's default: the statistics follow within some 20 batches
POSITION = 2  # BatchNorm1d(num_features, eps, momentum)


class StatisticsMomentum(Remedy):
    """The usual momentum for the statistics that batch normalisation keeps."""

    name = "momentum"
    treats = ("train-eval-mismatch",)
    rank = 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where a batch normalisation is given another one."""
        for file in files_of(run):
            source = Source.read(file)
            if source is not None and _slow(source):
                where = {"file": file, "line": source.line(_slow(source)[0])}
                title = f"batch normalisation with momentum {MOMENTUM:g}"
                yield Prescription(self.name, finding.slug, title, {"momentum": MOMENTUM}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Change the attribute of the layer once it is built."""
        import torch

        source = source_of(prescription.where)
        places = live.Places(str(source.path), [source.end_place(call) for call in _slow(source)])

        def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
            original(made, *args, **kwargs)
            made.momentum = prescription.numbers["momentum"]

        for kind in KINDS:
            live.on_construction(getattr(torch.nn, kind), places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the number where it is written."""
        where, value = prescription.where, prescription.numbers["momentum"]
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for call in _slow(source):
                changes.set_number(call, "momentum", value, POSITION)
            return changes.edit()
        except CannotEditError as error:
            return Words(f"momentum={value:g}", str(error), where.get("file"), where.get("line"))


def _slow(source: Source) -> list[cst.Call]:
    return [call for call in source.calls(*KINDS) if argument(call, "momentum", POSITION) is not None]


class LayerNorm(Remedy):
    """One group of all channels in place of the batch: nothing to keep, nothing to differ."""

    name = "layer-norm"
    treats = ("batch-too-small", "train-eval-mismatch")
    rank = 30

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where batch normalisations are made."""
        for file in files_of(run):
            source = Source.read(file)
            if source is not None and source.calls(*KINDS):
                where = {"file": file, "line": source.line(source.calls(*KINDS)[0])}
                title = "layer normalisation for batch normalisation"
                yield Prescription(self.name, finding.slug, title, {}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Let the object be the other layer before it is built."""
        import torch

        source = source_of(prescription.where)
        places = live.Places(str(source.path), [source.end_place(call) for call in source.calls(*KINDS)])

        def build(original: Callable[..., None], made: Any, num_features: int, *args: Any, **kwargs: Any) -> None:
            made.__class__ = torch.nn.GroupNorm
            made.__init__(1, num_features)

        for kind in KINDS:
            live.on_construction(getattr(torch.nn, kind), places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Write the other call."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for call in source.calls(*KINDS):
                width = argument(call, "num_features", 0)
                if width is None:
                    raise CannotEditError("the number of channels cannot be told")
                changes.replace(call, f"torch.nn.GroupNorm(1, {source.code(width.value)})")
            changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            return Words("nn.GroupNorm(1, width) for the batch normalisation", str(error), where.get("file"), None)
