"""larger-network, smaller-network, wider-layer and fewer-layers: another number of units or layers, where it is written."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Parameter
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.constants import Constant, follow, is_name
from vivavoce.remedy.dropout import files_of
from vivavoce.remedy.layers import hidden_layers, keeps_shape
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source

LAYERS = ("Linear", "Conv1d", "Conv2d", "RNN", "LSTM", "GRU")
FEWEST = 2  # units


class Width(Remedy):
    """Writes another width wherever the source has it: as one constant, or as a number in the layers' calls."""

    factors: ClassVar[tuple[float, ...]]

    @abstractmethod
    def width(self, run: Run, finding: Finding) -> int | None:
        """The number of units to change, as the run has it."""

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """One prescription a factor."""
        width = self.width(run, finding)
        for file in files_of(run) if width else ():
            source = Source.read(file)
            if source is not None and width and places_of(source, width):
                for factor in self.factors:
                    new = max(FEWEST, round(width * factor))
                    title = f"{new:,} units in place of {width:,}"
                    where = {"file": file, "line": source.line(places_of(source, width)[0])}
                    yield Prescription(self.name, finding.slug, title, {"width": width, "becomes": new}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the other number."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the numbers where they are written."""
        where, numbers = prescription.where, prescription.numbers
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for node in places_of(source, numbers["width"]):
                changes.replace(node, str(numbers["becomes"]))
            return changes.edit()
        except CannotEditError as error:
            text = f"{numbers['becomes']:,} units in place of {numbers['width']:,}"
            return Words(text, str(error), where.get("file"), where.get("line"))


class LargerNetwork(Width):
    """Four and sixteen times the units of the hidden layers."""

    name = "larger-network"
    treats = ("capacity-too-small", "underfitting", "guessing")
    rank = 50
    factors = (4, 16)

    def width(self, run: Run, finding: Finding) -> int | None:
        """The commonest hidden width."""
        return hidden_width(run)


class SmallerNetwork(Width):
    """A quarter, and a sixteenth of the units."""

    name = "smaller-network"
    treats = ("overfitting", "stopped-too-late")
    rank = 50
    factors = (0.25, 0.0625)

    def width(self, run: Run, finding: Finding) -> int | None:
        """The commonest hidden width."""
        return hidden_width(run)


class WiderLayer(Width):
    """Eight times the units of the narrowest layer inside the network."""

    name = "wider-layer"
    treats = ("capacity-too-small",)
    rank = 1
    factors = (8, 32)

    def width(self, run: Run, finding: Finding) -> int | None:
        """The width of the layer that the finding names, else of the narrowest."""
        named = [p for p in _weights(run) if finding.where.layer and p.name.startswith(f"{finding.where.layer}.")]
        return named[0].shape[0] if named else min((p.shape[0] for p in _weights(run)[:-1]), default=None)


def _weights(run: Run) -> list[Parameter]:
    return [p for p in run.parameters.values() if len(p.shape) >= 2 and p.model is not None and p.trainable]


def hidden_width(run: Run) -> int | None:
    """The commonest number of units in front of the last layer."""
    counts = Counter(p.shape[0] for p in _weights(run)[:-1] if p.module_class in LAYERS)
    return counts.most_common(1)[0][0] if counts else None


def places_of(source: Source, width: int) -> list[cst.BaseExpression]:
    """Where a width is written: the constants behind the layers' arguments, and the numbers in their calls."""
    found: dict[tuple[int, int], cst.BaseExpression] = {}
    for call in [c for c in source.all(cst.Call) if _builds(source, c)]:
        for arg in call.args:
            for expression in [arg.value, *_elements(arg.value)]:
                constant = follow(source, expression)
                if constant is not None and constant.whole and constant.value == width:
                    found[source.span(constant.node)] = constant.node
    if not found:  # a row of widths: hidden=(64, 64)
        rows: list[cst.Tuple | cst.List] = [*source.all(cst.Tuple), *source.all(cst.List)]
        for row in rows:
            numbers = [element.value for element in row.elements if isinstance(element.value, cst.Integer)]
            if len(numbers) == len(row.elements) and _names_widths(source, row):
                found |= {source.span(n): n for n in numbers if int(n.value) == width}
    return [found[span] for span in sorted(found)]


def _builds(source: Source, call: cst.Call) -> bool:
    """A layer of PyTorch's, of a class of the script's own, or a normalisation behind one."""
    if any(name.startswith("torch.nn.") and name.rpartition(".")[2][:1].isupper() for name in source.names(call.func)):
        return True
    return any(is_name(call.func, node.name.value) for node in source.all(cst.ClassDef))


def _elements(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    return [element.value for element in node.elements] if isinstance(node, (cst.Tuple, cst.List)) else []


def _names_widths(source: Source, row: cst.BaseExpression) -> bool:
    above = source.parent(row)
    name = ""
    if isinstance(above, cst.Param):
        name = above.name.value
    elif isinstance(above, cst.Arg) and above.keyword is not None:
        name = above.keyword.value
    elif isinstance(above, (cst.Assign, cst.AnnAssign)):
        name = source.code(above.targets[0].target if isinstance(above, cst.Assign) else above.target)
    return any(word in name.lower() for word in ("hidden", "width", "size", "unit", "layer", "dim", "channel"))


class FewerLayers(Remedy):
    """Half of the hidden layers that keep their shape."""

    name = "fewer-layers"
    treats = ("activation-scale", "exploding-gradients", "vanishing-gradients", "saturated-units")
    rank = 60

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where a number of such layers is found in the source."""
        for file in files_of(run):
            source = Source.read(file)
            constant = depth_of(source) if source is not None else None
            if source is not None and constant is not None and constant.value >= 2:
                fewer = int(constant.value) // 2
                where = {"file": file, "line": source.line(constant.node)}
                title = f"{fewer:,} blocks of layers in place of {int(constant.value):,}"
                yield Prescription(self.name, finding.slug, title, {"depth": fewer}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the other number."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the number of repetitions where it is written."""
        where, depth = prescription.where, prescription.numbers["depth"]
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            constant = depth_of(source)
            if constant is None:
                raise CannotEditError("how many layers there are is computed")
            changes.replace(constant.node, str(depth))
            return changes.edit()
        except CannotEditError as error:
            return Words(f"{depth} blocks of layers", str(error), where.get("file"), where.get("line"))


def depth_of(source: Source) -> Constant | None:
    """How often a loop or comprehension makes layers that keep their shape; None where none does."""
    for call in [c for c in hidden_layers(source) if keeps_shape(source, c)] + source.calls("Linear"):
        for above in source.ancestors(call):
            if isinstance(above, cst.For):
                found = _counted(source, above.iter)
            elif isinstance(above, (cst.ListComp, cst.GeneratorExp)):
                found = _counted(source, above.for_in.iter)
            else:
                continue
            if found is not None and keeps_shape(source, call):
                return found
    return None


def _counted(source: Source, iterable: cst.BaseExpression) -> Constant | None:
    if not isinstance(iterable, cst.Call) or not is_name(iterable.func, "range") or not iterable.args:
        return None
    stop = iterable.args[0 if len(iterable.args) == 1 else 1].value
    if isinstance(stop, cst.BinaryOperation):
        stop = stop.left
    constant = follow(source, stop)
    return constant if constant is not None and constant.whole else None
