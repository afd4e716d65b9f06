"""normalisation and residual: what keeps signals and gradients at one size through many layers."""

from __future__ import annotations

from abc import abstractmethod
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
from vivavoce.remedy.truncation import outermost

RESIDUAL = [
    "class Residual(torch.nn.Module):",
    '    """Adds its input to what a block makes of it."""',
    "",
    "    def __init__(self, block):",
    "        super().__init__()",
    "        self.block = block",
    "",
    "    def forward(self, x):",
    "        return x + self.block(x)",
    "",
    "",
]


class LinearLayers(Remedy):
    """Puts something around the hidden linear layers where they are made."""

    title: str

    @abstractmethod
    def layers(self, source: Source) -> list[cst.Call]:
        """The calls of `nn.Linear` that it concerns."""

    @abstractmethod
    def wrapped(self, source: Source, call: cst.Call) -> str:
        """The code in a call's place."""

    @abstractmethod
    def build(self, made: Any) -> None:
        """Do the same to a layer that was just built."""

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where such layers are found in the model's file."""
        for file in files_of(run):
            source = Source.read(file)
            if source is not None and self.layers(source):
                yield Prescription(self.name, finding.slug, self.title, {}, {"file": file})
                return

    def apply(self, prescription: Prescription) -> None:
        """Hook the layers as they are built."""
        import torch

        source = source_of(prescription.where)
        places = live.Places(str(source.path), [source.end_place(call) for call in self.layers(source)])

        def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
            original(made, *args, **kwargs)
            self.build(made)

        live.on_construction(torch.nn.Linear, places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Write the code around the calls."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            calls = self.layers(source)
            for call in calls:
                if _weights_are_used(source, call):
                    raise CannotEditError(
                        f"the script uses the weights of the layer at line {source.line(call)} by name"
                    )
                changes.replace(call, self.wrapped(source, call))
            changes.need("torch", "import torch")
            self.define(changes, source, calls)
            return changes.edit()
        except CannotEditError as error:
            return Words(self.title, str(error), where.get("file"), None)

    def define(self, changes: Changes, source: Source, calls: list[cst.Call]) -> None:
        """Write a class that the code needs."""


class Normalisation(LinearLayers):
    """Layer normalisation (Ba et al. 2016) behind every hidden linear layer."""

    name = "normalisation"
    treats = ("activation-scale", "exploding-gradients", "vanishing-gradients", "saturated-units")
    rank = 50
    title = "layer normalisation behind the hidden linear layers"

    def layers(self, source: Source) -> list[cst.Call]:
        """Linear layers that an activation follows."""
        return [call for call in hidden_layers(source) if argument(call, "out_features", 1) is not None]

    def wrapped(self, source: Source, call: cst.Call) -> str:
        """A pair of the layer and its normalisation."""
        width = argument(call, "out_features", 1)
        assert width is not None
        return f"torch.nn.Sequential({source.code(call)}, torch.nn.LayerNorm({source.code(width.value)}))"

    def build(self, made: Any) -> None:
        """The parameters of the normalisation follow those of the layer, as in the pair."""
        import torch

        made.add_module("normalisation", torch.nn.LayerNorm(made.out_features))
        made.register_forward_hook(lambda module, given, out: module.normalisation(out))


class Residual(LinearLayers):
    """A path around every hidden layer that keeps the shape (He et al. 2016)."""

    name = "residual"
    treats = ("activation-scale", "vanishing-gradients", "saturated-units")
    rank = 55
    title = "a path around the layers that keep their shape"

    def layers(self, source: Source) -> list[cst.Call]:
        """Hidden linear layers with as many outputs as inputs."""
        return [call for call in hidden_layers(source) if keeps_shape(source, call)]

    def wrapped(self, source: Source, call: cst.Call) -> str:
        """The layer inside a block that adds its input."""
        return f"Residual({source.code(call)})"

    def build(self, made: Any) -> None:
        """Add the input to the output."""
        made.register_forward_hook(lambda module, given, out: given[0] + out)

    def define(self, changes: Changes, source: Source, calls: list[cst.Call]) -> None:
        """The block's class, before what uses it first."""
        changes.before(outermost(source, calls[0]), RESIDUAL)


def keeps_shape(source: Source, call: cst.Call) -> bool:
    """Whether a linear layer is written with the same number of inputs and outputs."""
    first, second = argument(call, "in_features", 0), argument(call, "out_features", 1)
    return first is not None and second is not None and source.code(first.value) == source.code(second.value)


def hidden_layers(source: Source) -> list[cst.Call]:
    """Linear layers that are not the last of their network."""
    calls = source.calls("Linear")
    return [call for call in calls if not _is_last(source, call, calls)]


def _is_last(source: Source, call: cst.Call, calls: list[cst.Call]) -> bool:
    around = source.around(call, cst.ClassDef, cst.FunctionDef)
    same = [other for other in calls if source.around(other, cst.ClassDef, cst.FunctionDef) is around]
    sequential = _sequential_of(source, call)
    if sequential is not None:
        same = [other for other in same if _sequential_of(source, other) is sequential]
    return call is same[-1]


def _sequential_of(source: Source, call: cst.Call) -> cst.Call | None:
    return next(
        (c for c in source.ancestors(call) if isinstance(c, cst.Call) and source.is_torch(c.func, "Sequential")), None
    )


def _weights_are_used(source: Source, call: cst.Call) -> bool:
    """Whether the layer's weight is reached through the name that it is given: another name would be needed then."""
    statement = source.statement(call)
    if not isinstance(statement, cst.Assign) or statement.value is not call:
        return False
    name = source.code(statement.targets[0].target)
    attribute = name.rpartition(".")[2]
    return any(f".{attribute}.{part}" in source.text for part in ("weight", "bias"))
