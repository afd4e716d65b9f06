"""guard-operation: a small number between an operation and the point at which it has no value or slope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source, method_of

SMALL = "1e-8"
INNER = {  # operation: what is done to its operand
    "log": f".clamp_min({SMALL})", "log2": f".clamp_min({SMALL})", "log10": f".clamp_min({SMALL})",
    "sqrt": f".clamp_min({SMALL})", "rsqrt": f".clamp_min({SMALL})", "pow": f".clamp_min({SMALL})",
    "exp": ".clamp_max(80.0)", "acos": ".clamp(-1 + 1e-6, 1 - 1e-6)", "asin": ".clamp(-1 + 1e-6, 1 - 1e-6)",
    "reciprocal": f".clamp_min({SMALL})",
}  # fmt: skip
NORMS = ("norm", "vector_norm", "std")


class GuardOperation(Remedy):
    """Keeps the operands of logarithms, roots and divisions away from zero, on the line that made the first NaN."""

    name = "guard-operation"
    treats = ("non-finite",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """The line of the finding; where it names none, every such operation in the functions that train."""
        file, line = finding.where.file, finding.where.line
        lines = [line] if file and line else []
        sites = [n.site for n in run.nodes.values() if n.site is not None and _is_singular(n.op)]
        if not lines:
            file = sites[0].file if sites else None
        lines = lines or [site.line for site in sites if site.file == file]
        source = Source.read(file) if file else None
        if source is not None and any(singular(source, each) for each in lines):
            where: dict[str, Any] = {"file": file, "line": lines[0], "lines": sorted(set(lines))}
            title = f"a small number to guard the operation at line {lines[0]}"
            yield Prescription(self.name, finding.slug, title, {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the guard: `/` and `**` are no functions that could be wrapped at a line."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """`.clamp_min(1e-8)` behind the operand, `+ 1e-8` behind a denominator."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            done: list[tuple[int, int]] = []
            for line in where["lines"]:
                for node in singular(source, line):
                    span = source.span(node)
                    if not any(a <= span[0] and span[1] <= b for a, b in done):
                        done.append(span)
                        _guard(changes, source, node)
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
        name = method_of(call) or source.code(call.func)
        if source.line(call) <= line <= source.last_line(call) and name in (*INNER, *NORMS) and _is_small(source, call):
            found.append(call)
    for node in source.all(cst.BinaryOperation):
        divides = isinstance(node.operator, cst.Divide) and not isinstance(node.right, (cst.Integer, cst.Float))
        if divides and source.line(node) <= line <= source.last_line(node):
            found.append(node)
    return found


def _is_small(source: Source, call: cst.Call) -> bool:
    return source.last_line(call) - source.line(call) < 3


def _guard(changes: Changes, source: Source, node: cst.BaseExpression) -> None:
    if isinstance(node, cst.BinaryOperation):
        changes.insert(_end(source, node.right), f" + {SMALL})")
        changes.insert(_start(source, node.right), "(")
        return
    assert isinstance(node, cst.Call)
    name = method_of(node) or source.code(node.func)
    if name in NORMS:
        changes.insert(source.span(node)[1], f" + {SMALL})")
        changes.insert(source.span(node)[0], "(")
        return
    is_function = bool(source.names(node.func)) and any(n.startswith("torch.") for n in source.names(node.func))
    if is_function and node.args:
        operand = node.args[0].value
    elif isinstance(node.func, cst.Attribute):
        operand = node.func.value
    else:
        raise CannotEditError("the operand cannot be told")
    for inner in [operand, *source.all(cst.BinaryOperation, operand)]:
        if isinstance(inner, cst.BinaryOperation) and isinstance(inner.right, cst.Float):
            raise CannotEditError("the operation is guarded already")
    plain = isinstance(operand, (cst.Name, cst.Attribute, cst.Call, cst.Subscript))
    code = source.code(operand)
    in_parentheses = bool(getattr(operand, "lpar", ()))
    changes.replace(operand, f"{code}{INNER[name]}" if plain and not in_parentheses else f"({code}){INNER[name]}")


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
