"""One of the user's source files, parsed by LibCST: calls at a line, statements, arguments, the place of a constant.

Edits are replacements of stretches of the text, so that everything else stays byte for byte as it was.
"""

from __future__ import annotations

import functools
import os
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider, QualifiedNameProvider

N = TypeVar("N", bound=cst.CSTNode)


KEPT = 16  # parsed files
_copies: dict[str, str] = {}


def look_in(places: Mapping[str, str]) -> None:
    """Read the files of the user's folders (keys) from their copies (values) in this process: a trial's own sources."""
    _copies.update(places)


def _lies_at(path: str | Path) -> Path:
    name = str(path)
    for folder, copy in _copies.items():
        if name.startswith(folder.rstrip(os.sep) + os.sep):
            return Path(copy + name[len(folder.rstrip(os.sep)) :])
    return Path(name)


class Source:
    """A parsed file. Offsets are in characters of `text`, lines are 1-based.

    Raises:
        libcst.ParserSyntaxError: the text is not Python.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self._wrapper = MetadataWrapper(cst.parse_module(text.removeprefix("\ufeff")), unsafe_skip_copy=True)
        self.module = self._wrapper.module
        self._positions = self._wrapper.resolve(PositionProvider)
        self._parents = self._wrapper.resolve(ParentNodeProvider)
        self._shift = len(text) - len(text.removeprefix("\ufeff"))

    @staticmethod
    def read(path: str | Path) -> Source | None:
        """The file as it is on disk; None where it cannot be read or parsed."""
        try:
            with tokenize.open(_lies_at(path)) as file:
                encoding = file.encoding
            return parsed(Path(path), _lies_at(path).read_bytes().decode(encoding))
        except (OSError, SyntaxError, UnicodeDecodeError, cst.ParserSyntaxError):
            return None

    # places -------------------------------------------------------------------------------------------------------

    @cached_property
    def _starts(self) -> list[int]:
        starts, offset = [], self._shift
        for line in self.text[self._shift :].splitlines(keepends=True):
            starts.append(offset)
            offset += len(line)
        return [*starts, offset]

    @cached_property
    def newline(self) -> str:
        """What ends a line in this file."""
        return "\r\n" if "\r\n" in self.text else "\n"

    def line(self, node: cst.CSTNode) -> int:
        """The line on which a node begins."""
        return int(self._positions[node].start.line)

    def last_line(self, node: cst.CSTNode) -> int:
        """The line on which a node ends."""
        return int(self._positions[node].end.line)

    def line_start(self, line: int) -> int:
        """Offset of a line's first character."""
        return self._starts[min(line - 1, len(self._starts) - 1)]

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Offsets of a node's first character and of the one behind its last, without parentheses around it."""
        place = self._positions[node]
        start = self._starts[place.start.line - 1] + place.start.column
        return start, self._starts[place.end.line - 1] + place.end.column

    def end_place(self, node: cst.CSTNode) -> tuple[int, int]:
        """Line and column in bytes at which a node ends, as a code object's positions have it."""
        place = self._positions[node].end
        start = self._starts[place.line - 1]
        return int(place.line), len(self.text[start : start + place.column].encode())

    def code(self, node: cst.CSTNode) -> str:
        """A node's text."""
        start, end = self.span(node)
        return self.text[start:end]

    def name_line(self, call: cst.Call) -> int:
        """The line that a running frame gives for a call: that of the name right before its parenthesis."""
        func = call.func
        return self.line(func.attr if isinstance(func, cst.Attribute) else func)

    # walking --------------------------------------------------------------------------------------------------------

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """The node around a node."""
        return self._parents.get(node)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes around a node, innermost first."""
        above = self.parent(node)
        while above is not None:
            yield above
            above = self.parent(above)

    def around(self, node: cst.CSTNode, *kinds: type[N]) -> N | None:
        """The innermost node of these kinds around a node."""
        return next((above for above in self.ancestors(node) if isinstance(above, kinds)), None)

    def all(self, kind: type[N], within: cst.CSTNode | None = None) -> list[N]:
        """All nodes of a kind, in the order of the text."""
        if within is None:
            return self._by_kind(kind)
        start, end = self.span(within)
        return [n for n in self._by_kind(kind) if start <= self.span(n)[0] and self.span(n)[1] <= end]

    def _by_kind(self, kind: type[N]) -> list[N]:
        found = self._index.get(kind)
        if found is None:
            found = self._index[kind] = [node for node in self._nodes if isinstance(node, kind)]
        return found  # type: ignore[return-value]

    @cached_property
    def _index(self) -> dict[type[cst.CSTNode], list[cst.CSTNode]]:
        return {}

    @cached_property
    def _nodes(self) -> list[cst.CSTNode]:
        nodes = [node for node in self._parents if node in self._positions]
        return sorted(nodes, key=lambda node: self.span(node)[0])

    def statement(self, node: cst.CSTNode) -> cst.BaseSmallStatement | cst.BaseCompoundStatement | None:
        """The statement that a node is part of (of `a; b`, one of the two)."""
        kinds: tuple[type[Any], ...] = (cst.BaseSmallStatement, cst.BaseCompoundStatement)
        return node if isinstance(node, kinds) else self.around(node, *kinds)

    def function(self, node: cst.CSTNode) -> cst.FunctionDef | None:
        """The function that a node stands in."""
        return self.around(node, cst.FunctionDef)

    # names ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> Any:
        return self._wrapper.resolve(QualifiedNameProvider)

    def names(self, node: cst.CSTNode) -> set[str]:
        """What a name, attribute or call stands for: {"torch.nn.functional.relu"}. Empty where that is not known."""
        found = self._names.get(node, ())
        found = found() if callable(found) else found
        return {name.name for name in found}

    def is_torch(self, node: cst.CSTNode, *ends: str) -> bool:
        """Whether a node stands for something of PyTorch whose last name is one of these."""
        return any(
            name.startswith("torch.") and name.rpartition(".")[2] in ends and ".Tensor." not in name
            for name in self.names(node)
        )

    def calls(self, *ends: str, within: cst.CSTNode | None = None) -> list[cst.Call]:
        """Calls of PyTorch's functions and classes with these last names."""
        return [call for call in self.all(cst.Call, within) if self.is_torch(call.func, *ends)]

    def methods(self, *names: str, within: cst.CSTNode | None = None) -> list[cst.Call]:
        """Calls of methods with these names, on whatever."""
        return [call for call in self.all(cst.Call, within) if method_of(call) in names]

    def calls_at(self, line: int) -> list[cst.Call]:
        """Calls that a running frame would place on this line, outermost first."""
        found = [call for call in self.all(cst.Call) if line in (self.name_line(call), self.line(call))]
        return sorted(found, key=lambda call: (self.span(call)[0], -self.span(call)[1]))

    def imported(self, name: str) -> bool:
        """Whether a name is bound at the top of the file by an import."""
        for statement in self.module.body:
            for small in getattr(statement, "body", ()) if isinstance(statement, cst.SimpleStatementLine) else ():
                if isinstance(small, (cst.Import, cst.ImportFrom)) and name in _bound(small):
                    return True
        return False


@functools.lru_cache(maxsize=KEPT)
def parsed(path: Path, text: str) -> Source:
    """A file's `Source`; the last ones are kept, as every remedy asks for the same few. Raises what `Source` raises."""
    return Source(path, text)


def _bound(statement: cst.Import | cst.ImportFrom) -> set[str]:
    names = set()
    for alias in statement.names if isinstance(statement.names, Sequence) else ():
        whole = alias.evaluated_alias or alias.evaluated_name
        names.add(whole if isinstance(statement, cst.ImportFrom) else whole.partition(".")[0])
    return names


def method_of(call: cst.Call) -> str:
    """The name behind the dot of a call: "backward" for `loss.backward()`; "" for other calls."""
    return call.func.attr.value if isinstance(call.func, cst.Attribute) else ""


def argument(call: cst.Call, keyword: str, position: int | None = None) -> cst.Arg | None:
    """An argument by keyword, or by position where none before it is starred."""
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value == keyword:
            return arg
    if position is None or position >= len(call.args):
        return None
    if any(arg.star or arg.keyword for arg in call.args[: position + 1]):
        return None
    return call.args[position]


def has_double_star(call: cst.Call) -> bool:
    """Whether arguments come out of a dictionary: what they are cannot be told."""
    return any(arg.star == "**" for arg in call.args)


def number_of(node: cst.CSTNode) -> float | None:
    """The value of a number as it is written; None for anything else."""
    if isinstance(node, (cst.Integer, cst.Float)):
        return float(node.evaluated_value)
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        inner = number_of(node.expression)
        return None if inner is None else -inner
    return None
