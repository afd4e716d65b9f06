"""Parts of a network that its `parameters()` does not see: in a plain list, or put in after the optimizer was made."""

from __future__ import annotations

import libcst as cst

from vivavoce.remedy.changes import CannotEditError, Changes
from vivavoce.remedy.source import Source


def plain_lists(source: Source) -> list[cst.BaseExpression]:
    """Lists of modules that a network keeps as plain attributes: `self.blocks = [Block() for _ in range(4)]`."""
    found = []
    for assign in source.all(cst.Assign):
        owner = source.around(assign, cst.ClassDef)
        target = assign.targets[0].target
        if owner is None or not isinstance(target, cst.Attribute) or source.code(target.value) != "self":
            continue
        if is_network(source, owner) and _lists_modules(source, assign.value):
            found.append(assign.value)
    return found


def is_network(source: Source, owner: cst.ClassDef) -> bool:
    """Whether a class of the script's is one of modules."""
    return any(source.code(base.value).rpartition(".")[2] == "Module" for base in owner.bases)


def _lists_modules(source: Source, value: cst.BaseExpression) -> bool:
    if isinstance(value, cst.ListComp):
        return _makes_module(source, value.elt)
    if isinstance(value, cst.List) and value.elements:
        return all(_makes_module(source, element.value) for element in value.elements)
    return False


def _makes_module(source: Source, node: cst.BaseExpression) -> bool:
    if not isinstance(node, cst.Call):
        return False
    networks = {owner.name.value for owner in source.all(cst.ClassDef) if is_network(source, owner)}
    layers = any(n.startswith("torch.nn.") and n.rpartition(".")[2][:1].isupper() for n in source.names(node.func))
    return layers or source.code(node.func) in networks


def write_lists(changes: Changes) -> None:
    """`nn.ModuleList` around each of them."""
    for value in plain_lists(changes.source):
        changes.replace(value, f"torch.nn.ModuleList({changes.source.code(value)})")
        changes.need("torch", "import torch")


def replaced_later(source: Source, call: cst.Call, models: list[str]) -> cst.Assign | None:
    """The last statement behind the optimizer's, in its block, that puts a new part into a model: `model.fc = …`."""
    block = source.around(call, cst.IndentedBlock, cst.Module)
    found = None
    for assign in source.all(cst.Assign, block):
        target = source.code(assign.targets[0].target)
        behind = source.span(assign)[0] > source.span(call)[1]
        same_block = source.around(assign, cst.IndentedBlock, cst.Module) is block
        into = any(target.startswith((f"{model}.", f"{model}[")) for model in models)
        if behind and same_block and into and _makes_module(source, assign.value):
            found = assign
    return found


def move_behind(changes: Changes, call: cst.Call, place: cst.Assign, code: str) -> None:
    """Make the optimizer behind a statement, from `code` in the place of what it is given.

    Raises:
        CannotEditError: it is not made by a statement of its own.
    """
    source = changes.source
    statement = source.statement(call)
    if not isinstance(statement, cst.Assign) or statement.value is not call:
        raise CannotEditError("the optimizer is not made by a statement of its own")
    given = source.code(call.args[0].value)
    changes.after(place, [source.code(statement).replace(given, code, 1)])
    changes.remove_statement(statement)
