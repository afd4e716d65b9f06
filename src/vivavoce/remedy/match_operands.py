"""match-operands: both sides of an operation in the same shape, in a loss that is written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source

PAIRING = (cst.Subtract, cst.Multiply)  # what a loss does with a prediction and its target
SIMPLE = (cst.Name, cst.Attribute, cst.Subscript, cst.Call)  # expressions that a method can be called on as they stand
SIDES = ("right", "left")


class MatchOperands(Remedy):
    """Reshapes one side of a difference or a product, wherever it stands in the file. Which one, a trial each shows.

    First the one for which nothing is called twice: in `net(x) - y` the prediction.
    """

    name = "match-operands"
    treats = ("target-broadcast",)
    rank = 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the operation at the finding's line, where no loss function of PyTorch's compares the two."""
        place = (finding.where.file, finding.where.line)
        if any(
            loss.function and loss.site and (loss.site.file, loss.site.line) == place for loss in run.losses.values()
        ):
            return
        source = Source.read(place[0]) if place[0] and place[1] else None
        found = pairing(source, place[1]) if source is not None and place[1] else []
        if source is None or not found:
            return
        for side in sorted(SIDES, key=lambda side: isinstance(sides(found[0], side)[1], cst.Call)):
            moved, kept = sides(found[0], side)
            title = f"{source.code(moved)} in the shape of {source.code(kept)}"
            where = {"file": place[0], "line": place[1], "side": side}
            yield Prescription(self.name, finding.slug, title, {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the reshape: an operator is no function that could be wrapped at a line."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """`.reshape(prediction.shape)` behind the target."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            found = pairing(source, where["line"])
            if not found:
                raise CannotEditError(f"no difference of two names is seen at line {where['line']}")
            same = [node for node in source.all(cst.BinaryOperation) if source.code(node) in map(source.code, found)]
            for operation in same:  # in the validation, say: the same mistake
                moved, kept = sides(operation, where["side"])
                changes.replace(moved, f"{source.code(moved)}.reshape({source.code(kept)}.shape)")
            return changes.edit()
        except CannotEditError as error:
            return Words("target.reshape(prediction.shape)", str(error), where.get("file"), where.get("line"))


def pairing(source: Source, line: int) -> list[cst.BinaryOperation]:
    """Differences and products of two plain expressions on a line, differences first."""
    found = [
        node
        for node in source.all(cst.BinaryOperation)
        if isinstance(node.operator, PAIRING)
        and source.line(node) <= line <= source.last_line(node)
        and isinstance(node.left, SIMPLE)
        and isinstance(node.right, SIMPLE)
    ]
    return sorted(found, key=lambda node: PAIRING.index(type(node.operator)))


def sides(operation: cst.BinaryOperation, side: str) -> tuple[cst.BaseExpression, cst.BaseExpression]:
    """The side that is reshaped, and the one whose shape it gets."""
    pair = (operation.left, operation.right)
    return pair[::-1] if side == "right" else pair
