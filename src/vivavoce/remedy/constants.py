"""Follows an expression to the one place in its file where its number is written.

Local and module variables, attributes of `self`, defaults of parameters, arguments at the only call, fields of
dataclasses, defaults of argparse options, entries of a dictionary. Where there are two candidates, there is none. Of an option
that the program is given, no default counts: its number is the command line's, and the place to write another is its use.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import libcst as cst

from vivavoce.remedy.source import Source, argument, number_of

MOST_HOPS = 8  # from name to name

_command_line: list[str] = []  # what the program is given, where that is known


@dataclass(frozen=True)
class Constant:
    """A number as it is written at `node`; `names` are the names that led to it, the nearest to the use first.

    Of an option that is given on the command line, `node` is where it is used; `whole` says that the number is an integer.
    """

    node: cst.BaseExpression
    value: float
    names: tuple[str, ...] = ()
    whole: bool = False


def set_command_line(arguments: Sequence[str]) -> None:
    """From now on follow expressions as in a program that is given these arguments."""
    _command_line[:] = arguments


@contextmanager
def command_line(arguments: Sequence[str]) -> Iterator[None]:
    """Follow expressions as in a program that is given these arguments."""
    before = list(_command_line)
    set_command_line(arguments)
    try:
        yield
    finally:
        set_command_line(before)


def follow(source: Source, expression: cst.BaseExpression, hops: int = MOST_HOPS) -> Constant | None:
    """The number behind an expression; None where it is computed, or could be one of several."""
    value = number_of(expression)
    if value is not None:
        return Constant(expression, value, whole=isinstance(expression, cst.Integer))
    if hops == 0:
        return None
    if isinstance(expression, cst.Name):
        name, found = expression.value, _variable(source, expression)
    elif isinstance(expression, cst.Attribute):
        name = expression.attr.value
        option = None if is_name(expression.value, "self") else _given_option(source, name)
        if option is not None:
            return _from_the_command_line(expression, *option)
        found = _attribute(source, expression)
    elif isinstance(expression, cst.Subscript):
        name, found = _entry(source, expression)
    else:
        return None
    constant = None if found is None else follow(source, found, hops - 1)
    return None if constant is None else replace(constant, names=(name, *constant.names))


def uses(source: Source, name: str) -> int:
    """How often a name is read in the file, as a variable or an attribute, other than to print it."""
    return sum(
        node.value == name and _is_read(source, node) and not _is_printed(source, node) for node in source.all(cst.Name)
    )


def _is_read(source: Source, node: cst.Name) -> bool:
    above = source.parent(node)
    if isinstance(above, cst.Arg) and above.keyword is node:
        return False
    if isinstance(above, (cst.Param, cst.AnnAssign)):
        return above.default is node if isinstance(above, cst.Param) else above.value is node
    if isinstance(above, cst.Attribute):
        if above.attr is not node:
            return True
        node_or_attribute: cst.CSTNode = above
    else:
        node_or_attribute = node
    return not isinstance(source.parent(node_or_attribute), cst.AssignTarget)


def _is_printed(source: Source, node: cst.CSTNode) -> bool:
    if source.around(node, cst.FormattedString) is not None:
        return True
    return any(
        isinstance(above, cst.Call) and isinstance(above.func, cst.Name) and above.func.value == "print"
        for above in source.ancestors(node)
    )


def _variable(source: Source, name: cst.Name) -> cst.BaseExpression | None:
    for function in [above for above in source.ancestors(name) if isinstance(above, cst.FunctionDef)]:
        assigned = _assigned(source, name.value, function)
        if assigned:
            return assigned[0] if len(assigned) == 1 else None
        for param in _params(function):
            if param.name.value == name.value:
                return _parameter(source, function, param)
    assigned = _assigned(source, name.value, None)
    return assigned[0] if len(assigned) == 1 else None


def _assigned(source: Source, name: str, function: cst.FunctionDef | None) -> list[cst.BaseExpression]:
    """The values given to a variable in a function, or at the top of the file; twice the same for one that changes."""
    found: list[cst.BaseExpression] = []
    for node in source.all(cst.Assign, function):
        if source.function(node) is not function:
            continue
        for target in node.targets:
            found += _value_for(target.target, node.value, name)
    for other in source.all(cst.AnnAssign, function):
        if source.function(other) is function and source.around(other, cst.ClassDef) is None:
            found += [other.value] if other.value is not None and is_name(other.target, name) else []
    for changed in source.all(cst.AugAssign, function):
        if source.function(changed) is function and is_name(changed.target, name):
            found += [changed.value, changed.value]
    return found


def _value_for(target: cst.BaseExpression, value: cst.BaseExpression, name: str) -> list[cst.BaseExpression]:
    """What an assignment gives to a variable, or to an attribute written `self.name`; nothing where it gives it nothing."""
    if _is_target(target, name):
        return [value]
    if not isinstance(target, (cst.Tuple, cst.List)):
        return []
    for index, element in enumerate(target.elements):
        if _is_target(element.value, name):
            if isinstance(value, (cst.Tuple, cst.List)) and len(value.elements) == len(target.elements):
                return [value.elements[index].value]
            return [value]
    return []


def _is_target(node: cst.CSTNode, name: str) -> bool:
    if isinstance(node, cst.Attribute):
        return is_name(node.value, "self") and f"self.{node.attr.value}" == name
    return is_name(node, name)


def is_name(node: cst.CSTNode, name: str) -> bool:
    """Whether a node is this variable."""
    return isinstance(node, cst.Name) and node.value == name


def _params(function: cst.FunctionDef) -> list[cst.Param]:
    return [*function.params.posonly_params, *function.params.params, *function.params.kwonly_params]


def _parameter(source: Source, function: cst.FunctionDef, param: cst.Param) -> cst.BaseExpression | None:
    """What a function's parameter is: given by one call at most, else its default."""
    name = param.name.value
    given = []
    for call, shift in calls_of(source, function):
        names = [p.name.value for p in [*function.params.posonly_params, *function.params.params]]
        position = names.index(name) - shift if name in names else None
        arg = argument(call, name, position)
        if arg is not None:
            given.append(arg.value)
        elif any(other.star for other in call.args):
            return None
    if len(given) > 1:
        return None
    return given[0] if given else param.default


def calls_of(source: Source, function: cst.FunctionDef) -> list[tuple[cst.Call, int]]:
    """Calls of a function in its file, and how many of its parameters a call does not name (`self`)."""
    owner = source.parent(source.parent(function) or function)
    name = function.name.value
    if isinstance(owner, cst.ClassDef):
        if name == "__init__":
            return [(c, 1) for c in source.all(cst.Call) if is_name(c.func, owner.name.value)]
        return [(c, 1) for c in source.all(cst.Call) if isinstance(c.func, cst.Attribute) and c.func.attr.value == name]
    return [(call, 0) for call in source.all(cst.Call) if is_name(call.func, name)]


def _attribute(source: Source, expression: cst.Attribute) -> cst.BaseExpression | None:
    name = expression.attr.value
    if is_name(expression.value, "self"):
        owner = source.around(expression, cst.ClassDef)
        values = [
            value
            for node in source.all(cst.Assign, owner)
            for target in node.targets
            for value in _value_for(target.target, node.value, f"self.{name}")
        ]
        return values[0] if len(values) == 1 else None
    candidates = [*_options(source, name), *_fields(source, name)]
    return candidates[0] if len(candidates) == 1 else None


def _options(source: Source, name: str) -> list[cst.BaseExpression]:
    """Defaults of the argparse (or click) options that set this attribute."""
    found = [argument(call, "default") for call, _ in _setting(source, name)]
    return [default.value for default in found if default is not None]


def _setting(source: Source, name: str) -> Iterator[tuple[cst.Call, list[str]]]:
    """The calls that define the options of an attribute, and the options' flags."""
    for call in source.methods("add_argument", "option"):
        flags = [
            str(a.value.evaluated_value) for a in call.args if isinstance(a.value, cst.SimpleString) and not a.keyword
        ]
        dest = argument(call, "dest")
        named = dest is not None and isinstance(dest.value, cst.SimpleString)
        names = [str(dest.value.evaluated_value)] if named else flags  # type: ignore[union-attr]
        if any(each.lstrip("-").replace("-", "_") == name for each in names):
            yield call, flags


def _given_option(source: Source, name: str) -> tuple[cst.Call, str] | None:
    """The option that sets this attribute, and its text on the command line; None where it is not given."""
    for call, flags in _setting(source, name):
        for index, word in enumerate(_command_line):
            flag, equals, text = word.partition("=")
            if flag in flags and flag.startswith("-"):
                return call, text if equals else " ".join(_command_line[index + 1 : index + 2])
    return None


def _from_the_command_line(use: cst.Attribute, call: cst.Call, text: str) -> Constant | None:
    try:
        value = float(text)
    except ValueError:
        return None
    kind = argument(call, "type")
    whole = kind is not None and is_name(kind.value, "int")
    return Constant(use, value, whole=whole) if math.isfinite(value) else None


def _fields(source: Source, name: str) -> list[cst.BaseExpression]:
    """Defaults of this field in the file's classes, or what the only call gives instead."""
    found = []
    for node in source.all(cst.AnnAssign):
        owner = source.around(node, cst.ClassDef, cst.FunctionDef)
        if not isinstance(owner, cst.ClassDef) or not is_name(node.target, name) or node.value is None:
            continue
        calls = [call for call in source.all(cst.Call) if is_name(call.func, owner.name.value)]
        given = [arg.value for call in calls if (arg := argument(call, name)) is not None]
        found += given or [node.value]
    for assign in source.all(cst.Assign):  # class Config: lr = 0.1
        owner = source.around(assign, cst.ClassDef, cst.FunctionDef)
        if isinstance(owner, cst.ClassDef):
            found += [assign.value for target in assign.targets if is_name(target.target, name)]
    for call in source.all(cst.Call):  # SimpleNamespace(lr=0.1)
        if isinstance(call.func, (cst.Name, cst.Attribute)) and source.code(call.func).endswith("Namespace"):
            found += [arg.value for arg in call.args if arg.keyword is not None and arg.keyword.value == name]
    return found


def _entry(source: Source, expression: cst.Subscript) -> tuple[str, cst.BaseExpression | None]:
    """The entry of a dictionary that is written out in this file."""
    index = expression.slice[0].slice if len(expression.slice) == 1 else None
    if not isinstance(index, cst.Index) or not isinstance(index.value, cst.SimpleString):
        return "", None
    key = index.value.evaluated_value
    found = [
        element.value
        for element in source.all(cst.DictElement)
        if isinstance(element.key, cst.SimpleString) and element.key.evaluated_value == key
    ]
    found += [
        arg.value
        for call in source.all(cst.Call)
        if is_name(call.func, "dict")
        for arg in call.args
        if arg.keyword is not None and arg.keyword.value == key
    ]
    return str(key), found[0] if len(found) == 1 else None
