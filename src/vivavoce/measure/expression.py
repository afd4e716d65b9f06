"""Arithmetic written by a person, such as `sin(8*pi*x)`, turned into a function of arrays without running any code.

The text is parsed by `ast.parse`, which executes nothing, and the tree is walked by a table of the permitted nodes.
Everything that is not in the table (attributes, subscripts, strings, calls of anything but the listed functions) is
refused. All numbers are float64, so that `9**9**9` is infinity rather than an hour of work.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LONGEST = 1_000  # characters; a formula that a person types is far shorter
DEEPEST = 50  # nested operations; keeps the recursion far from the interpreter's limit

CONSTANTS: Mapping[str, float] = {"pi": np.pi, "tau": 2 * np.pi, "e": np.e}

FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "sin": (1, np.sin),
    "cos": (1, np.cos),
    "tan": (1, np.tan),
    "asin": (1, np.arcsin),
    "acos": (1, np.arccos),
    "atan": (1, np.arctan),
    "sinh": (1, np.sinh),
    "cosh": (1, np.cosh),
    "tanh": (1, np.tanh),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "log2": (1, np.log2),
    "log10": (1, np.log10),
    "sqrt": (1, np.sqrt),
    "cbrt": (1, np.cbrt),
    "abs": (1, np.abs),
    "sign": (1, np.sign),
    "floor": (1, np.floor),
    "ceil": (1, np.ceil),
    "round": (1, np.round),
    "sinc": (1, np.sinc),
    "relu": (1, lambda x: np.maximum(x, 0.0)),
    "step": (1, lambda x: np.where(np.asarray(x) >= 0, 1.0, 0.0)),
    "atan2": (2, np.arctan2),
    "hypot": (2, np.hypot),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
    "where": (3, np.where),
}

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: np.positive, ast.USub: np.negative}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}

Node = Callable[[Mapping[str, Floats]], Any]


class ExpressionError(ValueError):
    """The text is not an arithmetic expression that can be computed; the message shows where and why."""


class Expression:
    """A function of the named variables. `variables` holds those that the text really uses, sorted."""

    def __init__(self, text: str, variables: tuple[str, ...] = ("x", "y")) -> None:
        """Parse `text`. Raises ExpressionError where it is not an expression of numbers and `variables`."""
        self.text = text.strip()
        builder = _Builder(self.text, variables)
        self._compute = builder.build(_parsed(self.text))
        self.variables = tuple(sorted(builder.used))

    def __call__(self, **values: ArrayLike) -> Floats:
        """The value at `values`, arrays of one common shape (or that broadcast to one); non-finite where undefined.

        Raises TypeError where a variable is missing.
        """
        missing = [name for name in self.variables if name not in values]
        if missing:
            raise TypeError(f"{self.text!r} needs a value for {' and '.join(missing)}")
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values())) if arrays else ()
        with np.errstate(all="ignore"):
            result = np.asarray(self._compute(arrays), dtype=np.float64)
        return np.array(np.broadcast_to(result, shape))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _parsed(text: str) -> ast.expr:
    if not text:
        raise ExpressionError("the expression is empty; try 'sin(8*pi*x)'")
    if len(text) > LONGEST:
        raise ExpressionError(f"the expression has {len(text):,} characters; at most {LONGEST:,} are read")
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(_pointing(text, error.msg, (error.offset or 1) - 1)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"{text[:40]!r} cannot be read as an expression: {error}") from None


def _pointing(text: str, why: str, column: int) -> str:
    return f"{why}\n  {text}\n  {' ' * max(0, column)}^"


class _Builder:
    """Turns the permitted nodes of a tree into functions of the variables."""

    def __init__(self, text: str, variables: tuple[str, ...]) -> None:
        self.text = text
        self.variables = variables
        self.used: set[str] = set()

    def build(self, node: ast.expr, depth: int = 0) -> Node:
        """The function that computes a node from the variables' values."""
        if depth > DEEPEST:
            raise self._error(node, f"more than {DEEPEST} operations are nested")
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise self._error(node, "only numbers, variables, + - * / // % **, comparisons and functions are allowed")
        result: Node = handler(self, node, depth + 1)
        return result

    def constant(self, node: ast.Constant, _: int) -> Node:
        """A number."""
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self._error(node, f"{node.value!r} is not a real number")
        try:
            value = np.float64(node.value)
        except OverflowError:
            raise self._error(node, "this number is too large for a float64") from None
        return lambda _: value

    def name(self, node: ast.Name, _: int) -> Node:
        """A variable or a constant."""
        name = node.id
        if name in self.variables:
            self.used.add(name)
            return lambda values: values[name]
        if name in CONSTANTS:
            value = np.float64(CONSTANTS[name])
            return lambda _: value
        if name in FUNCTIONS:
            raise self._error(node, f"{name} is a function: write {name}(…)")
        raise self._error(node, f"unknown name {name!r}{self._meant(name, (*self.variables, *CONSTANTS))}")

    def binary(self, node: ast.BinOp, depth: int) -> Node:
        """An operation with two operands."""
        operation = _BINARY.get(type(node.op))
        if operation is None:
            hint = "; write ** for a power" if isinstance(node.op, ast.BitXor) else ""
            raise self._error(node, f"the operator {_symbol(node.op)} is not arithmetic{hint}")
        left, right = self.build(node.left, depth), self.build(node.right, depth)
        return lambda values: operation(left(values), right(values))

    def unary(self, node: ast.UnaryOp, depth: int) -> Node:
        """A sign."""
        operation = _UNARY.get(type(node.op))
        if operation is None:
            raise self._error(node, f"the operator {_symbol(node.op)} is not arithmetic")
        operand = self.build(node.operand, depth)
        return lambda values: operation(operand(values))

    def compare(self, node: ast.Compare, depth: int) -> Node:
        """A comparison, or a chain of them: 1 where all hold, else 0."""
        terms = [self.build(term, depth) for term in (node.left, *node.comparators)]
        operations = [_COMPARE.get(type(operation)) for operation in node.ops]
        if None in operations:
            raise self._error(node, "only < <= > >= == != compare numbers")

        def compute(values: Mapping[str, Floats]) -> Any:
            got = [term(values) for term in terms]
            holds = [o(a, b) for o, a, b in zip(operations, got, got[1:], strict=False) if o]
            return np.where(np.logical_and.reduce(np.broadcast_arrays(*holds)), 1.0, 0.0)

        return compute

    def choice(self, node: ast.IfExp, depth: int) -> Node:
        """`a if condition else b`."""
        condition, yes, no = (self.build(part, depth) for part in (node.test, node.body, node.orelse))
        return lambda values: np.where(condition(values), yes(values), no(values))

    def call(self, node: ast.Call, depth: int) -> Node:
        """A call of one of `FUNCTIONS`."""
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self._error(node, "only calls such as sin(x) are allowed")
        name = node.func.id
        if name not in FUNCTIONS:
            raise self._error(node, f"unknown function {name!r}{self._meant(name, tuple(FUNCTIONS))}")
        arity, function = FUNCTIONS[name]
        if len(node.args) != arity:
            raise self._error(node, f"{name} takes {arity} argument{'s' * (arity > 1)}, not {len(node.args)}")
        arguments = [self.build(argument, depth) for argument in node.args]
        return lambda values: function(*(argument(values) for argument in arguments))

    def _meant(self, name: str, known: tuple[str, ...]) -> str:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"

    def _error(self, node: ast.expr, why: str) -> ExpressionError:
        return ExpressionError(_pointing(self.text, why, getattr(node, "col_offset", 0)))


_HANDLERS: Mapping[type[ast.expr], Callable[..., Node]] = {
    ast.Constant: _Builder.constant,
    ast.Name: _Builder.name,
    ast.BinOp: _Builder.binary,
    ast.UnaryOp: _Builder.unary,
    ast.Compare: _Builder.compare,
    ast.IfExp: _Builder.choice,
    ast.Call: _Builder.call,
}


def _symbol(operator: ast.AST) -> str:
    symbols = {"BitXor": "^", "BitAnd": "&", "BitOr": "|", "LShift": "<<", "RShift": ">>", "MatMult": "@"}
    symbols |= {"Not": "not", "Invert": "~"}
    return symbols.get(type(operator).__name__, type(operator).__name__)
