"""Changes of a source file as replacements of stretches of its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import libcst as cst

from vivavoce.remedy.constants import follow, uses
from vivavoce.remedy.remedy import Edit
from vivavoce.remedy.source import Source, argument, has_double_star, parsed


class CannotEditError(Exception):
    """The edit cannot be written safely; the message says why, as the end of a sentence after "because"."""


class Changes:
    """Collects replacements; `text` makes the new file of them. They must not overlap."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.imports: list[str] = []
        self._spans: dict[tuple[int, int], str] = {}

    def replace(self, node: cst.CSTNode, code: str) -> None:
        """Write other code in a node's place."""
        self._spans[self.source.span(node)] = code

    def insert(self, offset: int, code: str) -> None:
        """Write code between two characters; after what was inserted there before."""
        self._spans[offset, offset] = self._spans.get((offset, offset), "") + code

    def cut(self, start: int, end: int) -> None:
        """Leave a stretch out."""
        self._spans[start, end] = ""

    def before(self, statement: cst.CSTNode, lines: list[str]) -> None:
        """Add statements in front of one, with its indentation."""
        self._beside(statement, lines, after=False)

    def after(self, statement: cst.CSTNode, lines: list[str]) -> None:
        """Add statements behind one, with its indentation."""
        self._beside(statement, lines, after=True)

    def _beside(self, statement: cst.CSTNode, lines: list[str], after: bool) -> None:
        source = self.source
        start, end = source.span(statement)
        first = source.line_start(source.line(statement))
        indent = source.text[first:start]
        if indent.strip() or _shares_its_line(source, statement):
            if len(lines) > 1 or not isinstance(statement, cst.BaseSmallStatement):
                raise CannotEditError("the statement shares its line with others")
            self.insert(end if after else start, f"; {lines[0]}" if after else f"{lines[0]}; ")
            return
        if not after:
            self.insert(first, "".join(f"{indent if line else ''}{line}{source.newline}" for line in lines))
            return
        behind = source.line_start(source.last_line(statement) + 1)
        lead = "" if source.text[:behind].endswith("\n") else source.newline
        code = source.newline.join(f"{indent}{line}" if line else "" for line in lines)
        self.insert(behind, f"{lead}{code}{'' if lead else source.newline}")

    def remove_statement(self, statement: cst.CSTNode) -> None:
        """Take a statement out, with its line; `pass` stays where it was alone in its block."""
        source = self.source
        line = source.parent(statement)
        block = source.parent(line) if line is not None else None
        alone = isinstance(block, cst.IndentedBlock) and len(block.body) == 1
        if alone or _shares_its_line(source, statement):
            self.replace(statement, "pass")
            return
        self.cut(source.line_start(source.line(statement)), source.line_start(source.last_line(statement) + 1))

    def set_argument(self, call: cst.Call, keyword: str, code: str, position: int | None = None) -> None:
        """Give a call another value for an argument, or the argument where it lacks it.

        Raises:
            CannotEditError: the arguments come out of a dictionary.
        """
        arg = argument(call, keyword, position)
        if arg is not None:
            self.replace(arg.value, code)
        elif has_double_star(call):
            raise CannotEditError(f"the arguments come out of a dictionary, which may hold {keyword}")
        else:
            self.add_argument(call, f"{keyword}={code}")

    def add_argument(self, call: cst.Call, code: str) -> None:
        """Add an argument at the end of a call."""
        source = self.source
        if not call.args:
            self.insert(source.span(call)[1] - 1, code)
            return
        end = source.span(call.args[-1].value)[1]
        closing = source.span(call)[1] - 1
        tail = source.text[end:closing]
        comma = call.args[-1].comma
        if isinstance(comma, cst.Comma) and "," in tail:
            column = source.span(call.args[-1])[0] - source.line_start(source.line(call.args[-1]))
            own_line = source.line(call.args[-1]) != source.line(call)
            lead = source.newline + " " * column if own_line else " "
            self.insert(end + tail.index(",") + 1, f"{lead}{code}{',' if own_line else ''}")
        else:
            self.insert(end + len(tail.rstrip()), f", {code}")

    def remove_argument(self, call: cst.Call, keyword: str, position: int | None = None) -> None:
        """Take an argument out of a call, if it is there."""
        arg = argument(call, keyword, position)
        if arg is None:
            return
        index = list(call.args).index(arg)
        start, end = self.source.span(arg)
        if index > 0:
            behind = self.source.span(call.args[index - 1])[1]
            self.cut(self.source.text.index(",", behind), end)
        elif len(call.args) > 1:
            self.cut(start, self.source.span(call.args[1])[0])
        else:
            self.cut(start, end)

    def set_number(self, call: cst.Call, keyword: str, value: float, position: int | None = None) -> None:
        """Give a call another number: where the number is written, if it is used for nothing else, or at the call.

        Raises:
            CannotEditError: the arguments come out of a dictionary.
        """
        arg = argument(call, keyword, position)
        constant = None if arg is None else follow(self.source, arg.value)
        if constant is not None and all(uses(self.source, name) <= 1 for name in constant.names):
            self.replace(constant.node, written(value, whole=constant.whole))
        else:
            self.set_argument(call, keyword, written(value), position)

    def set_all(self, call: cst.Call, expressions: Sequence[cst.BaseExpression], value: float) -> None:
        """Give several equal expressions of a call another number: where it is written, or in each of their places."""
        constant = follow(self.source, expressions[0])
        if constant is not None and all(uses(self.source, name) <= len(expressions) for name in constant.names):
            self.replace(constant.node, written(value, whole=constant.whole))
        else:
            for expression in expressions:
                self.replace(expression, written(value))

    def need(self, name: str, statement: str) -> None:
        """Add an import at the top of the file, unless the name is there."""
        if self.source.imported(name) or statement in self.imports:
            return
        self.imports.append(statement)
        body = self.source.module.body
        places = [node for node in body if _is_import(node)]
        if places:
            line = self.source.last_line(places[-1]) + 1
        elif body:
            line = self.source.line(body[0])
        else:
            line = 1
        self.insert(self.source.line_start(line), statement + self.source.newline)

    def text(self) -> str:
        """The new file.

        Raises:
            CannotEditError: nothing would change, changes overlap, or the result is not Python.
        """
        if not self._spans:
            raise CannotEditError("there is nothing to change at this place")
        parts, last = [], 0
        for (start, end), code in sorted(self._spans.items()):
            if start < last:
                raise CannotEditError("two changes meet at the same place")
            parts += [self.source.text[last:start], code]
            last = end
        new = "".join([*parts, self.source.text[last:]])
        try:
            compile(new, str(self.source.path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise CannotEditError(f"the edited file would not compile ({error})") from None
        return new

    def edit(self) -> Edit:
        """The new file as an `Edit`. Raises what `text` raises."""
        return Edit({self.source.path: self.text()}, tuple(self.imports))


def _shares_its_line(source: Source, statement: cst.CSTNode) -> bool:
    line = source.parent(statement)
    if isinstance(line, cst.SimpleStatementSuite):
        return True
    return isinstance(line, cst.SimpleStatementLine) and len(line.body) > 1


def _is_import(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleStatementLine) and any(
        isinstance(small, (cst.Import, cst.ImportFrom)) for small in node.body
    )


def written(value: float, *, whole: bool = False) -> str:
    """A number as code: 0.003, 1e-05, 64."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int) or (whole and float(value).is_integer()):
        return str(int(value))
    return repr(float(value))


def open_source(sources: Mapping[Path, str], file: str | None) -> Source:
    """The file of this name among the user's, parsed.

    Raises:
        CannotEditError: it is not there, or is not Python.
    """
    if file is None:
        raise CannotEditError("the place in the source is not known")
    path = Path(file)
    text = sources.get(path)
    if text is None:
        same = [known for known in sources if known.name == path.name]
        if len(same) != 1:
            raise CannotEditError(f"the source of {path.name} is not at hand")
        path, text = same[0], sources[same[0]]
    try:
        return parsed(path, text)
    except cst.ParserSyntaxError:
        raise CannotEditError(f"{path.name} cannot be parsed") from None
