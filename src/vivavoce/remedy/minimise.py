"""minimise: a loss that falls, in place of one that the training climbs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.examine.maximised import maximised
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source

VALUES = (cst.Name, cst.Attribute, cst.Call)  # what a minus sign is taken away from: no number, no arithmetic


class Minimise(Remedy):
    """Takes away the minus sign before the loss, or the optimizer's `maximize=True`."""

    name = "minimise"
    treats = ("loss-output-mismatch",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the loss is maximised."""
        turned = maximised(run)
        if turned is None or turned.site is None:
            return
        option = isinstance(turned, Optimizer)
        title = "no maximize=True" if option else "the loss without its minus sign"
        where = {"file": turned.site.file, "line": turned.site.line, "option": option}
        yield Prescription(self.name, finding.slug, title, {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script without it."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """One sign, or one argument."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            if where["option"]:
                _minimising(changes, source, where["line"])
            else:
                signs = _signs(source, where["line"])
                if len(signs) != 1:
                    raise CannotEditError(f"line {where['line']} holds {len(signs)} minus signs before a value")
                _unsigned(changes, source, signs[0])
            return changes.edit()
        except CannotEditError as error:
            text = "maximize=False" if where["option"] else "loss, not -loss"
            return Words(text, str(error), where.get("file"), where.get("line"))


def _signs(source: Source, line: int) -> list[cst.UnaryOperation]:
    """The outermost minus signs before a value on a line."""
    found = [
        node
        for node in source.all(cst.UnaryOperation)
        if isinstance(node.operator, cst.Minus)
        and isinstance(node.expression, VALUES)
        and source.line(node) <= line <= source.last_line(node)
    ]
    return [node for node in found if not any(above in found for above in source.ancestors(node))]


def _unsigned(changes: Changes, source: Source, sign: cst.UnaryOperation) -> None:
    """`loss.backward()` for `(-loss).backward()`."""
    start, end = source.span(sign)
    if sign.lpar and source.text[start - 1] == "(" and source.text[end : end + 1] == ")":
        changes.cut(start - 1, start)
        changes.cut(end, end + 1)
    changes.replace(sign, source.code(sign.expression))


def _minimising(changes: Changes, source: Source, line: int) -> None:
    for call in source.calls_at(line):
        if any(arg.keyword is not None and arg.keyword.value == "maximize" for arg in call.args):
            changes.remove_argument(call, "maximize")
            return
    raise CannotEditError(f"no call at line {line} is given maximize=True by name")
