"""Arithmetic on columns, as a tree: its value, and where it is linear its slopes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from copy import deepcopy

import numpy as np

from vivavoce.measure.expression import Expression
from vivavoce.measure.rules import Floats

Numbers = Mapping[str, Floats]
Affine = tuple[dict[str, Floats], Floats]  # slopes by name, each (n,), and the constant (n,)


def names_in(node: ast.expr) -> set[str]:
    """The names that stand in it."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def renamed(node: ast.expr, names: Mapping[str, str]) -> ast.expr:
    """A copy with other names; those that are not in `names` stay. They need not be identifiers."""
    copy = deepcopy(node)
    for inner in ast.walk(copy):
        if isinstance(inner, ast.Name):
            inner.id = names.get(inner.id, inner.id)
    return copy


def value_of(node: ast.expr, numbers: Numbers) -> Floats:
    """The value of arithmetic on columns (n,), shape (n,) or (); computed by `Expression`, which runs no code."""
    aliases = {name: f"column_{number}_" for number, name in enumerate(sorted(names_in(node) & set(numbers)))}
    expression = Expression(ast.unparse(renamed(node, aliases)), tuple(aliases.values()))
    return expression(**{alias: numbers[name] for name, alias in aliases.items()})


def affine(node: ast.expr, numbers: Numbers, free: set[str], n: int) -> Affine | None:
    """Slopes in the `free` names and the constant, where the others are columns (n,); None where it is not linear."""
    if not names_in(node) & free:
        return {}, np.broadcast_to(value_of(node, numbers), n)
    if isinstance(node, ast.Name):
        return {node.id: np.ones(n)}, np.zeros(n)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        inside = affine(node.operand, numbers, free, n)
        return inside and _scaled(inside, np.array(-1.0 if isinstance(node.op, ast.USub) else 1.0))
    if isinstance(node, ast.BinOp):
        left, right = (affine(side, numbers, free, n) for side in (node.left, node.right))
        return None if left is None or right is None else _combined(node.op, left, right)
    return None


def _combined(operator: ast.operator, left: Affine, right: Affine) -> Affine | None:
    if isinstance(operator, ast.Add | ast.Sub):
        return _sum(left, _scaled(right, np.array(-1.0 if isinstance(operator, ast.Sub) else 1.0)))
    if isinstance(operator, ast.Mult) and not (left[0] and right[0]):
        return _scaled(left, right[1]) if left[0] else _scaled(right, left[1])
    if isinstance(operator, ast.Div) and not right[0]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return _scaled(left, 1 / right[1])
    return None


def _scaled(part: Affine, factor: Floats) -> Affine:
    return {name: slope * factor for name, slope in part[0].items()}, part[1] * factor


def _sum(a: Affine, b: Affine) -> Affine:
    slopes = dict(a[0])
    for name, slope in b[0].items():
        slopes[name] = slopes[name] + slope if name in slopes else slope
    return slopes, a[1] + b[1]
