"""Rules as people write them, such as `grandparent_age > father_age`, read without running any code.

    price >= 2 * area               a comparison, of any arithmetic; < <= > >= ==, also 0 <= share <= 1
    rock + paper + scissors == 1    a sum that is kept
    kind == "house" implies price > 100 and …
    increasing(price, area)         price never falls where area rises; decreasing(…) the other way round
    increasing(height, age, person) … within each person
    symmetric(distance, a, b)       distance is the same from a to b as from b to a; antisymmetric(…) changes its sign

Names are columns; one that is no plain word stands in backquotes: `` `age of father` ``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vivavoce.measure.expression import LONGEST, Expression, ExpressionError
from vivavoce.measure.rules import TOLERANCE, Floats, Rule
from vivavoce.measure.rules_affine import Numbers, affine, names_in, renamed, value_of
from vivavoce.measure.rules_linear import ImplicationRule, LinearRule
from vivavoce.measure.rules_order import MonotoneRule, SymmetryRule

Words = NDArray[np.str_]
Rows = NDArray[np.int64]

STRICT = 1e-6  # of the largest number at hand: by how much > must differ where values are moved to obey it
QUOTED = re.compile(r"`([^`]+)`")
IMPLIES = re.compile(r"""\bimplies\b(?=(?:[^"']|"[^"]*"|'[^']*')*$)""")  # outside of quotation marks
SIGNS: Mapping[type[ast.cmpop], tuple[int, bool, bool]] = {  # factor of left - right, strict, equality
    ast.Gt: (1, True, False),
    ast.GtE: (1, False, False),
    ast.Lt: (-1, True, False),
    ast.LtE: (-1, False, False),
    ast.Eq: (1, False, True),
}
ORDERS = {"increasing": True, "decreasing": False}
SYMMETRIES = {"symmetric": False, "antisymmetric": True}


class RuleError(ValueError):
    """The text is no rule, or the rule cannot be used so; the message says why."""


@dataclass(frozen=True)
class Standing:
    """A rule held against columns: the row of each instance (m,), and by how much it is broken (m,), 0 where it holds."""

    rows: Rows
    amounts: Floats

    @property
    def broken(self) -> Rows:
        """The rows that break the rule, in order."""
        return np.unique(self.rows[self.amounts > 0])


@dataclass(frozen=True)
class Bound:
    """A rule bound to the places of values (n, k), one column for each predicted name; `rows` (m,) as in `Standing`."""

    rule: Rule
    rows: Rows


@dataclass(frozen=True)
class _Comparison:
    """`larger - smaller` must be positive, or not negative, or zero."""

    larger: ast.expr
    smaller: ast.expr
    strict: bool
    equal: bool

    @property
    def names(self) -> set[str]:
        """The columns on both sides."""
        return names_in(self.larger) | names_in(self.smaller)


@dataclass(frozen=True)
class _Kind:
    """A column of words is, or is not, one of them."""

    column: str
    word: str
    wanted: bool


@dataclass
class _Call:
    function: str
    columns: tuple[str, ...]


@dataclass
class WrittenRule:
    """A parsed rule. `numbers` are the columns that must be numbers, `words` those of which only equality counts."""

    text: str
    numbers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    _when: list[_Comparison | _Kind] = field(default_factory=list)
    _then: list[_Comparison] = field(default_factory=list)
    _call: _Call | None = None

    def stand(self, numbers: Numbers, words: Mapping[str, Words], slack: float = 0.0) -> Standing:
        """Hold the rule against columns (n,). Rows with NaN in a column that it needs are left out; an instance may be
        broken by up to `slack` without counting, and by what rounding explains."""
        if self._call is not None:
            bound = self._bind_call(numbers, words, [self._call.columns[0]])
            values = np.nan_to_num(numbers[self._call.columns[0]])
            return _standing(bound.rows, bound.rule.broken_by(values), _largest([values]), slack)
        rows = np.flatnonzero(
            self._complete(numbers) & self._applies(self._when, numbers, words, _length(numbers, words))
        )
        part = {name: column[rows] for name, column in numbers.items()}
        found = [_held(comparison, part, len(rows), slack) for comparison in self._then]
        return Standing(np.tile(rows, len(found)), np.concatenate(found) if found else np.zeros(0))

    def bind(
        self, numbers: Numbers, words: Mapping[str, Words], predicted: Sequence[str], scale: float = 1.0
    ) -> list[Bound]:
        """The rule on values (n, k) of the `predicted` columns, the others being known data; one part a comparison.

        `numbers` need not hold the predicted columns. `scale` is the size of the numbers, which decides how far apart
        > keeps them. Raises RuleError where the rule is not linear in the predicted columns, or speaks of none.
        """
        if not set(predicted) & set(self.numbers):
            raise RuleError(f"{self.text[:80]!r} says nothing about {' or '.join(predicted)}")
        n = _length(numbers, words)
        known = {name: column for name, column in numbers.items() if name not in predicted}
        if self._call is not None:
            return [self._bind_call({**known, **{name: np.zeros(n) for name in predicted}}, words, predicted)]
        bound = [part for part in self._when if isinstance(part, _Comparison) and part.names & set(predicted)]
        rows = np.flatnonzero(
            self._complete(known) & self._applies([p for p in self._when if p not in bound], known, words, n)
        )
        places = _Places({name: column[rows] for name, column in known.items()}, rows, list(predicted), self.text)
        linear = [places.linear(comparison, scale) for comparison in self._then]
        if bound:
            return [Bound(self._implication(bound, linear, places, scale), rows)]
        return [Bound(rule, rows) for rule in linear]

    def _implication(
        self, conditions: list[_Comparison], then: list[LinearRule], places: _Places, scale: float
    ) -> Rule:
        if len(conditions) > 1 or len(then) > 1 or conditions[0].equal:
            raise RuleError(
                f"{self.text[:80]!r}: one condition on predictions, an inequality, and one conclusion can be joined by 'implies'"
            )
        closed = replace(conditions[0], strict=False)
        margin = 0.0 if conditions[0].strict else STRICT * scale
        return ImplicationRule(places.linear(closed, scale), then[0], margin)

    def _bind_call(self, numbers: Numbers, words: Mapping[str, Words], predicted: Sequence[str]) -> Bound:
        call, width = self._call, len(predicted)
        assert call is not None
        name, others = call.columns[0], call.columns[1:]
        if name not in predicted or set(others) & set(predicted):
            raise RuleError(f"{self.text[:80]!r} can be applied to predictions of {name} alone")
        rows = np.flatnonzero(self._complete(numbers))
        places = rows * width + list(predicted).index(name)
        if call.function in ORDERS:
            groups = words[others[1]][rows] if len(others) > 1 else None
            rule = MonotoneRule(places, numbers[others[0]][rows], groups, ORDERS[call.function])
            return Bound(rule, rule.places[rule.levels[rule.joined]] // width)
        sides = np.unique(np.stack([words[other][rows] for other in others]), return_inverse=True)[1].reshape(2, -1)
        signs = np.sign(sides[1] - sides[0]).astype(float) if SYMMETRIES[call.function] else None
        pairs = np.unique(np.sort(sides, axis=0), axis=1, return_inverse=True)[1].ravel()
        return Bound(SymmetryRule(places, pairs, signs), rows)

    def _complete(self, numbers: Numbers) -> NDArray[np.bool_]:
        needed = [np.isfinite(numbers[name]) for name in self.numbers if name in numbers]
        if not needed:
            return np.array(True)
        return np.asarray(np.logical_and.reduce(needed))

    def _applies(
        self, conditions: Iterable[_Comparison | _Kind], numbers: Numbers, words: Mapping[str, Words], n: int
    ) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.ones(n, bool)
        for condition in conditions:
            if isinstance(condition, _Kind):
                mask &= (words[condition.column] == condition.word) == condition.wanted
            else:
                left = value_of(condition.larger, numbers) - value_of(condition.smaller, numbers)
                mask &= left == 0 if condition.equal else left > 0 if condition.strict else left >= 0
        return mask


def parse_rule(text: str, columns: Sequence[str]) -> WrittenRule:
    """Read a rule about the named columns. Raises RuleError, with the nearest name where one is unknown."""
    return _Parser(text, columns).parse()


class _Parser:
    """Turns the text into comparisons; names that are no identifiers get one for the time being."""

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self.text = " ".join(text.split())
        self.columns = list(columns)
        self.real: dict[str, str] = {}  # identifier: column, of quoted names
        self.numbers: dict[str, None] = {}
        self.words: dict[str, None] = {}

    def parse(self) -> WrittenRule:
        if not self.text or len(self.text) > LONGEST:
            raise RuleError(f"a rule has 1 to {LONGEST:,} characters, not {len(self.text):,}")
        parts = IMPLIES.split(QUOTED.sub(self._alias, self.text))
        if len(parts) > 2:
            raise RuleError(f"{self.text[:80]!r}: 'implies' may stand once")
        when = self._conditions(parts[0]) if len(parts) > 1 else []
        body = self._tree(parts[-1])
        call, then = None, []
        if isinstance(body, ast.Call):
            call = self._function(body)
            if when:
                raise RuleError(f"{self.text[:80]!r}: {call.function} cannot be a conclusion")
        else:
            then = [item for part in _conjuncts(body) for item in self._comparisons(part)]
        if not self.numbers:
            raise RuleError(
                f"{self.text[:80]!r} speaks of no column of numbers (there are {', '.join(self.columns[:12])})"
            )
        return WrittenRule(self.text, tuple(self.numbers), tuple(self.words), when, then, call)

    def _alias(self, match: re.Match[str]) -> str:
        name = match[1].strip()
        if name not in self.columns:
            raise RuleError(f"{self.text[:80]!r}: there is no column {name!r}")
        alias = f"quoted_{len(self.real)}_"
        self.real[alias] = name
        return alias

    def _tree(self, text: str) -> ast.expr:
        try:
            return ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = error.msg if isinstance(error, SyntaxError) else str(error)
            raise RuleError(f"{self.text[:80]!r} cannot be read as a rule: {why}") from None

    def _conditions(self, text: str) -> list[_Comparison | _Kind]:
        found: list[_Comparison | _Kind] = []
        for part in _conjuncts(self._tree(text)):
            kind = self._kind(part)
            found += [kind] if kind else self._comparisons(part)
        return found

    def _kind(self, node: ast.expr) -> _Kind | None:
        """`column == "word"`; None where the node is something else."""
        if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Name)):
            return None
        right = node.comparators[0]
        if not (isinstance(right, ast.Constant) and isinstance(right.value, str)):
            return None
        if not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            raise RuleError(f"{self.text[:80]!r}: words can only be compared by == and !=")
        return _Kind(self._column(node.left, self.words), right.value, isinstance(node.ops[0], ast.Eq))

    def _comparisons(self, node: ast.expr) -> Iterator[_Comparison]:
        if not isinstance(node, ast.Compare):
            raise RuleError(
                f"{self.text[:80]!r} is no rule: a comparison with < <= > >= or ==, or one of "
                f"{', '.join([*ORDERS, *SYMMETRIES])} is expected"
            )
        terms = [self._checked(term) for term in (node.left, *node.comparators)]
        for operation, left, right in zip(node.ops, terms, terms[1:], strict=False):
            if type(operation) not in SIGNS:
                raise RuleError(f"{self.text[:80]!r}: only < <= > >= and == compare numbers")
            sign, strict, equal = SIGNS[type(operation)]
            yield _Comparison(*((left, right) if sign > 0 else (right, left)), strict, equal)

    def _checked(self, node: ast.expr) -> ast.expr:
        """The node with real names, if it is arithmetic on columns. Raises RuleError where it is not."""
        known = {column: column for column in self.columns if column.isidentifier()} | {n: n for n in self.real}
        try:
            used = Expression(ast.unparse(node), tuple(known)).variables
        except ExpressionError as error:
            raise RuleError(self._explained(str(error))) from None
        for name in used:
            self.numbers[self.real.get(name, name)] = None
        return renamed(node, self.real)

    def _explained(self, why: str) -> str:
        why = why.splitlines()[0]
        for alias, name in self.real.items():
            why = why.replace(alias, name)
        odd = [column for column in self.columns if not column.isidentifier()]
        hint = f"; other names stand in backquotes, as `{odd[0]}`" if odd and "unknown name" in why else ""
        return f"{self.text[:80]!r}: {why}{hint}"

    def _function(self, node: ast.Call) -> _Call:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in {**ORDERS, **SYMMETRIES} or node.keywords:
            known = ", ".join([*ORDERS, *SYMMETRIES])
            raise RuleError(f"{self.text[:80]!r} is no rule: a comparison, or one of {known} is expected")
        fewest, most = (2, 3) if name in ORDERS else (3, 3)
        if not fewest <= len(node.args) <= most:
            form = f"{name}(value, along[, group])" if name in ORDERS else f"{name}(value, a, b)"
            raise RuleError(f"{self.text[:80]!r}: write {form}")
        roles = [self.numbers, self.numbers, self.words] if name in ORDERS else [self.numbers, self.words, self.words]
        return _Call(name, tuple(self._column(a, role) for a, role in zip(node.args, roles, strict=False)))

    def _column(self, node: ast.expr, role: dict[str, None]) -> str:
        name = self.real.get(node.id, node.id) if isinstance(node, ast.Name) else ""
        if name not in self.columns:
            self._checked(node)  # says what is wrong with the name
            raise RuleError(f"{self.text[:80]!r}: the name of a column is expected, not {ast.unparse(node)!r}")
        role[name] = None
        return name


def _conjuncts(node: ast.expr) -> Iterable[ast.expr]:
    return node.values if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) else [node]


def _length(numbers: Numbers, words: Mapping[str, Words]) -> int:
    return max((len(column) for column in [*numbers.values(), *words.values()]), default=0)


def _held(comparison: _Comparison, numbers: Numbers, n: int, slack: float) -> Floats:
    larger, smaller = (np.broadcast_to(value_of(node, numbers), n) for node in (comparison.larger, comparison.smaller))
    gap = larger - smaller
    tolerance = slack + TOLERANCE * np.maximum(np.abs(larger), np.abs(smaller))
    if comparison.equal:
        broken = np.abs(gap) > tolerance
    else:
        broken = gap <= 0 if comparison.strict and not slack else -gap > tolerance
    return np.where(broken, np.maximum(np.abs(gap), np.finfo(float).tiny), 0.0)


def _standing(rows: Rows, amounts: Floats, largest: float, slack: float) -> Standing:
    return Standing(rows, np.where(amounts <= slack + TOLERANCE * largest, 0.0, amounts))


def _largest(columns: Iterable[Floats]) -> float:
    return max((float(np.max(np.abs(column), initial=0.0)) for column in columns), default=0.0)


@dataclass(frozen=True)
class _Places:
    """Which place a predicted column has in each of the chosen rows; `numbers` are the known columns there."""

    numbers: Numbers
    rows: Rows
    predicted: list[str]
    text: str

    def linear(self, comparison: _Comparison, scale: float) -> LinearRule:
        """A comparison as a linear rule, one instance a row. Raises RuleError where it is not linear."""
        difference = ast.BinOp(comparison.larger, ast.Sub(), comparison.smaller)
        found = affine(difference, self.numbers, set(self.predicted), len(self.rows))
        if found is None:
            raise RuleError(
                f"{self.text[:80]!r} is not linear in {' and '.join(sorted(comparison.names & set(self.predicted)))}: it can be "
                f"checked, but predictions can neither be trained with it nor projected onto it"
            )
        slopes, constant = found
        columns = [name for name in self.predicted if name in slopes]
        if not columns:
            raise RuleError(f"{self.text[:80]!r}: a part of it says nothing about {' or '.join(self.predicted)}")
        places: Rows = self.rows[:, None] * len(self.predicted) + np.array(
            [self.predicted.index(name) for name in columns]
        )
        coefficients = np.stack([slopes[name] for name in columns], axis=1)
        margin = STRICT * scale if comparison.strict else 0.0
        return LinearRule(places, coefficients, constant - margin, comparison.equal)
