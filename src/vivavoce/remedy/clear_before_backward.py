"""clear-before-backward: gradients are cleared before they are made, not before they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import steps
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.optimizers import optimizers_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source


class ClearBeforeBackward(Remedy):
    """Moves a `zero_grad()` that stands between `backward()` and `step()`."""

    name = "clear-before-backward"
    treats = ("no-gradient",)
    rank = 0

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the source has one there."""
        for optimizer in optimizers_of(run, finding):
            site = optimizer.step_site
            source = Source.read(site.file) if site is not None else None
            if site is None or source is None:
                continue
            try:
                found = between(source, site.line)
            except CannotEditError:
                continue
            if found:
                title = "clear the gradients before the backward pass, not behind it"
                yield Prescription(self.name, finding.slug, title, {}, place(site))

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the line at its place."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Move the line."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            found = between(source, where["line"])
            backward = steps.first_backward(source, steps.step_call(source, where["line"]))
            target = source.statement(backward) if backward is not None else None
            if not found or not isinstance(target, cst.BaseSmallStatement):
                raise CannotEditError("no zero_grad() stands between backward() and step()")
            changes.before(target, [source.code(statement) for statement in found])
            for statement in found:
                changes.remove_statement(statement)
            return changes.edit()
        except CannotEditError as error:
            return Words("zero_grad() before backward()", str(error), where.get("file"), where.get("line"))


def between(source: Source, line: int) -> list[cst.BaseSmallStatement]:
    """Statements that clear gradients between a backward pass and the step of a line, in one block.

    Raises:
        CannotEditError: there is no step at the line.
    """
    step = steps.step_call(source, line)
    backward = steps.first_backward(source, step)
    if backward is None:
        return []
    start, end = source.span(backward)[0], source.span(step)[0]
    block = source.around(step, cst.IndentedBlock, cst.Module)
    found = [call for call in source.methods("zero_grad") if start < source.span(call)[0] < end]
    statements = [source.statement(c) for c in found if source.around(c, cst.IndentedBlock, cst.Module) is block]
    return [statement for statement in statements if isinstance(statement, cst.Expr)]
