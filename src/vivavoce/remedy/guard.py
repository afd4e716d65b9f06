"""guard-operation: a small number between an operation and the point at which it has no value or slope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source, method_of

SMALL = (1e-8, 1e-3)  # what keeps operands away from zero: hardly felt, and felt
INNER = {  # operation: what is done to its operand
    "log": ".clamp_min({small})", "log2": ".clamp_min({small})", "log10": ".clamp_min({small})",
    "sqrt": ".clamp_min({small})", "rsqrt": ".clamp_min({small})", "pow": ".clamp_min({small})",
    "exp": ".clamp_max(80.0)", "acos": ".clamp(-1 + 1e-6, 1 - 1e-6)", "asin": ".clamp(-1 + 1e-6, 1 - 1e-6)",
    "reciprocal": ".clamp_min({small})",
}  # fmt: skip
NORMS = ("norm", "vector_norm", "std")


class GuardOperation(Remedy):
    """Keeps the operands of logarithms, roots and divisions away from zero, on the line that made the first NaN."""

    name = "guard-operation"
    treats = ("non-finite",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """The line of the finding; where that holds none, every such operation in the functions that train."""
        file, lines = finding.where.file, [finding.where.line] if finding.where.line else []
        source = Source.read(file) if file else None
        if source is None or not any(singular(source, line) for line in lines):
            sites = [n.site for n in run.nodes.values() if n.site is not None and _is_singular(n.op)]
            file = sites[0].file if sites else None
            lines = [site.line for site in sites if site.file == file]
            source = Source.read(file) if file else None
        if source is not None and any(singular(source, each) for each in lines):
            where: dict[str, Any] = {"file": file, "line": lines[0], "lines": sorted(set(lines))}
            for small in SMALL:
                title = f"{small:g} to guard the operation at line {lines[0]}"
                yield Prescription(self.name, finding.slug, title, {"small": small}, where)

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the guard: `/` and `**` are no functions that could be wrapped at a line."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """`.clamp_min(1e-8)` behind the operand, `+ 1e-8` behind a denominator."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            small = written(prescription.numbers["small"])
            for line in where["lines"]:
                nodes = singular(source, line)
                logged = {source.code(operand) for node in nodes if (operand := _operand(source, node)) is not None}
                for node in nodes:
                    if not _is_guarded_around(source, node, nodes):
                        _guard(changes, source, node, small, logged)
            return changes.edit()
        except CannotEditError as error:
            return Words("guard the operation with a small number", str(error), where.get("file"), where.get("line"))


def _is_singular(op: str) -> bool:
    name = op.removesuffix("Backward0").removesuffix("Backward1").lower()
    return name in INNER or name in ("div", "linalgvectornorm", "norm", "std")


def singular(source: Source, line: int) -> list[cst.BaseExpression]:
    """Operations on a line that have no value or slope somewhere, outermost first."""
    found: list[cst.BaseExpression] = []
    for call in source.all(cst.Call):
        name = _name(source, call)
        if source.line(call) <= line <= source.last_line(call) and name in (*INNER, *NORMS) and _is_small(source, call):
            found.append(call)
    for node in source.all(cst.BinaryOperation):
        divides = isinstance(node.operator, cst.Divide) and not isinstance(node.right, (cst.Integer, cst.Float))
        if divides and source.line(node) <= line <= source.last_line(node):
            found.append(node)
    return found


def _is_small(source: Source, call: cst.Call) -> bool:
    return source.last_line(call) - source.line(call) < 3


def _operand(source: Source, node: cst.BaseExpression) -> cst.BaseExpression | None:
    """What a function or method is applied to; None for divisions and norms."""
    if not isinstance(node, cst.Call) or _name(source, node) in NORMS:
        return None
    if any(name.startswith("torch.") for name in source.names(node.func)):
        return node.args[0].value if node.args else None
    return node.func.value if isinstance(node.func, cst.Attribute) else None


def _name(source: Source, call: cst.Call) -> str:
    return method_of(call) or source.code(call.func)


def _is_guarded_around(source: Source, node: cst.BaseExpression, nodes: list[cst.BaseExpression]) -> bool:
    """A norm that is a denominator: the guard of the division is enough."""
    above = source.parent(node)
    return (
        isinstance(node, cst.Call) and isinstance(above, cst.BinaryOperation) and above in nodes and above.right is node
    )


def _guard(changes: Changes, source: Source, node: cst.BaseExpression, small: str, logged: set[str]) -> None:
    if isinstance(node, cst.BinaryOperation):
        if source.code(node.right) in logged:  # as in the logarithm beside it
            _append(changes, source, node.right, f".clamp_min({small})")
            return
        changes.insert(_end(source, node.right), f" + {small})")
        changes.insert(_start(source, node.right), "(")
        return
    operand = _operand(source, node)
    assert isinstance(node, cst.Call)
    if _name(source, node) in NORMS:
        changes.insert(source.span(node)[1], f" + {small})")
        changes.insert(source.span(node)[0], "(")
        return
    if operand is None:
        raise CannotEditError("the operand cannot be told")
    for inner in [operand, *source.all(cst.BinaryOperation, operand)]:
        if isinstance(inner, cst.BinaryOperation) and isinstance(inner.right, cst.Float):
            raise CannotEditError("the operation is guarded already")
    _append(changes, source, operand, INNER[_name(source, node)].format(small=small))


def _append(changes: Changes, source: Source, operand: cst.BaseExpression, method: str) -> None:
    plain = isinstance(operand, (cst.Name, cst.Attribute, cst.Call, cst.Subscript)) and not operand.lpar
    code = source.code(operand)
    changes.replace(operand, f"{code}{method}" if plain else f"({code}){method}")


def _start(source: Source, node: cst.BaseExpression) -> int:
    start = source.span(node)[0]
    for _ in getattr(node, "lpar", ()):
        start = source.text.rindex("(", 0, start)
    return start


def _end(source: Source, node: cst.BaseExpression) -> int:
    end = source.span(node)[1]
    for _ in getattr(node, "rpar", ()):
        end = source.text.index(")", end) + 1
    return end
