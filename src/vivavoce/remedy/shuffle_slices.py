"""shuffle-slices: a new order of the examples in each epoch, where batches are cut from the data by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import loaders
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.constants import is_name
from vivavoce.remedy.dropout import files_of
from vivavoce.remedy.graph import training_lines
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source

ORDER = ("order", "shuffled_order", "order_of_epoch")  # names for the permutation: the first that is free


class ShuffleSlices(Remedy):
    """`x[order[i : i + size]]` for `x[i : i + size]`, with a permutation drawn before the loop over the batches."""

    name = "shuffle-slices"
    treats = ("class-ignored", "unshuffled-data", "oscillating-loss")
    rank = 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the loop around the training step that cuts its batches, where no loader makes them."""
        if loaders.training(run):
            return
        for file in files_of(run):
            source = Source.read(file)
            lines = training_lines(run, file)
            loop = batch_loop(source, lines) if source is not None else None
            if source is not None and loop is not None:
                where = {"file": file, "line": source.line(loop), "lines": lines}
                yield Prescription(self.name, finding.slug, "shuffle the examples in each epoch", {}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the permutation: a slice is no function that could be wrapped."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Draw the permutation, and index with its slices."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            loop = batch_loop(source, where["lines"])
            if loop is None:
                raise CannotEditError("no loop is seen that cuts batches with slices")
            found = slices(source, loop)
            order = next((name for name in ORDER if not any(is_name(n, name) for n in source.all(cst.Name))), None)
            if order is None:
                raise CannotEditError("no name for the permutation is free")
            changes.before(loop, [f"{order} = torch.randperm(len({source.code(found[0].value)}))"])
            for node in found:
                cut = source.code(node.slice[0])
                changes.replace(node, f"{source.code(node.value)}[{order}[{cut}]]")
            changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            text = "order = torch.randperm(len(x)) in each epoch, and x[order[i : i + size]] for x[i : i + size]"
            return Words(text, str(error), where.get("file"), where.get("line"))


def batch_loop(source: Source, lines: list[int]) -> cst.For | None:
    """The innermost loop over `range(start, stop, size)` around a line that cuts slices with its variable."""
    loops = [
        loop
        for loop in source.all(cst.For)
        if any(source.line(loop) < line <= source.last_line(loop) for line in lines) and slices(source, loop)
    ]
    return loops[-1] if loops else None


def slices(source: Source, loop: cst.For) -> list[cst.Subscript]:
    """`x[i : i + size]` in a loop over `range(start, stop, size)` with the variable `i`."""
    steps = loop.iter
    if not isinstance(loop.target, cst.Name) or not isinstance(steps, cst.Call) or len(steps.args) != 3:
        return []
    if not is_name(steps.func, "range"):
        return []
    variable, size = loop.target.value, source.code(steps.args[2].value)
    return [
        node
        for node in source.all(cst.Subscript, loop)
        if len(node.slice) == 1
        and isinstance(node.value, (cst.Name, cst.Attribute))
        and _is_batch(source, node.slice[0].slice, variable, size)
    ]


def _is_batch(source: Source, index: cst.BaseSlice, variable: str, size: str) -> bool:
    if not isinstance(index, cst.Slice) or index.step is not None or index.lower is None or index.upper is None:
        return False
    ends = (f"{variable}+{size}", f"{size}+{variable}")
    return is_name(index.lower, variable) and source.code(index.upper).replace(" ", "") in ends
