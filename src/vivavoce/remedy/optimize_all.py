"""optimize-all: the optimizer gets every parameter of the model that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Parameter
from vivavoce.record.run import Run
from vivavoce.remedy import hidden_parts, live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.constants import is_name
from vivavoce.remedy.optimizers import models_in, optimizer_call, optimizer_of, parameters_argument, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import rewrite, source_of
from vivavoce.remedy.source import Source


class OptimizeAll(Remedy):
    """Another expression for what the optimizer is given; a live trial evaluates it where the optimizer is made."""

    name = "optimize-all"
    treats = ("parameters-not-optimized", "no-gradient")
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """The model by the names that the run knows it under; they are matched with the source later."""
        optimizer = optimizer_of(run, finding)
        missing = [p for p in run.parameters.values() if _forgotten(p)]
        if optimizer is None or not missing:
            return
        models = [run.models[id] for id in dict.fromkeys(p.model for p in missing) if id in run.models]
        names = list(dict.fromkeys([m.name.partition(" (")[0] for m in models] + [m.class_name for m in models]))
        where = place(optimizer.site, optimizer=optimizer.class_name, models=names)
        yield Prescription(self.name, finding.slug, "give the optimizer every parameter of the model", {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Evaluate the expression of the edit in the user's frame."""
        source = source_of(prescription.where)
        try:
            if needs_rewriting(source, prescription.where):
                rewrite(self, prescription)
            else:
                live.give_parameters(prescription.where, given_to(source, prescription.where))
        except CannotEditError as error:
            raise RemedyError(str(error)) from None

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Write the expression into the call."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            _write(changes, source, where)
            return changes.edit()
        except CannotEditError as error:
            text = f"{where.get('optimizer', 'optimizer')}(model.parameters(), …)"
            return Words(text, str(error), where.get("file"), where.get("line"))


def needs_rewriting(source: Source, where: Mapping[str, Any]) -> bool:
    """Whether parts of the model are out of sight where the optimizer is made."""
    call = optimizer_call(source, where["line"], where.get("optimizer", ""))
    held = models_in(source, parameters_argument(call))
    return bool(hidden_parts.plain_lists(source)) or hidden_parts.replaced_later(source, call, held) is not None


def _write(changes: Changes, source: Source, where: Mapping[str, Any]) -> None:
    call = optimizer_call(source, where["line"], where.get("optimizer", ""))
    given = parameters_argument(call)
    hidden_parts.write_lists(changes)
    later = hidden_parts.replaced_later(source, call, models_in(source, given))
    try:
        code = given_to(source, where)
    except CannotEditError:
        if later is None and not hidden_parts.plain_lists(source):
            raise
        code = source.code(given)
    if later is not None:
        hidden_parts.move_behind(changes, call, later, code)
    elif code != source.code(given):
        changes.replace(given, code)


def _forgotten(parameter: Parameter) -> bool:
    return bool(parameter.reached) and parameter.trainable and not parameter.optimizers and parameter.model is not None


def given_to(source: Source, where: Mapping[str, Any]) -> str:
    """The expression that collects every parameter of the model.

    Raises:
        CannotEditError: the model has no name that is known where the optimizer is made.
    """
    call = optimizer_call(source, where["line"], where.get("optimizer", ""))
    given = parameters_argument(call)
    held = models_in(source, given)
    wanted = _trained(source, call, where)
    if _same(held, wanted) and not _has_groups(given):
        new = f"{held[0]}.parameters()" if len(held) == 1 else _collected(held)
    elif _has_groups(given) and wanted is None and len(held) == 1:
        new = _with_group(source, given, held[0])
    elif wanted is None:
        raise CannotEditError("the model that is trained has no name where the optimizer is made")
    elif _has_groups(given):
        new = _with_group(source, given, wanted)
    elif isinstance(given, cst.List) and held:
        new = f"[*{wanted}.parameters(), {source.code(given)[1:]}"
    elif any(_is_whole(source, given, model) for model in held) and _is_variable(source, call, held):
        new = _collected([*held, wanted])
    else:
        new = f"{wanted}.parameters()"
    if new == source.code(given):
        raise CannotEditError("the optimizer is given the whole model already; it changed later")
    return new


def _same(held: list[str], wanted: str | None) -> bool:
    return bool(held) and (wanted is None or wanted in held)


def _trained(source: Source, call: cst.Call, where: Mapping[str, Any]) -> str | None:
    """The name of the model that the loss trains, as it holds where the optimizer is made."""
    names = where.get("models", ())
    known = {node.value for node in source.all(cst.Name)}
    for name in names:
        if name in known and _is_value(source, name):
            return str(name)
        if any(source.code(node) == f"self.{name}" for node in source.all(cst.Attribute)):
            return f"self.{name}"
    return _made_of(source, names)


def _is_value(source: Source, name: str) -> bool:
    """A variable or parameter of the script's, and no class or function."""
    targets = [target.target for assign in source.all(cst.Assign) for target in assign.targets]
    names = [n for target in targets for n in [target, *source.all(cst.Name, target)]]
    names += [node.target for node in source.all(cst.AnnAssign)] + [param.name for param in source.all(cst.Param)]
    return any(is_name(node, name) for node in names)


def _made_of(source: Source, classes: list[str] | tuple[str, ...]) -> str | None:
    """The only variable or attribute that a model of one of these classes is assigned to."""
    found = []
    for assign in source.all(cst.Assign):
        value = assign.value
        if isinstance(value, cst.Call) and source.code(value.func).rpartition(".")[2] in classes:
            found += [source.code(target.target) for target in assign.targets]
    found = list(dict.fromkeys(found))
    return found[0] if len(found) == 1 else None


def _is_variable(source: Source, call: cst.Call, held: list[str]) -> bool:
    """The model that the optimizer holds is used beyond this call: it belongs to the training as well."""
    return all(source.text.count(name) > 2 for name in held)


def _is_whole(source: Source, given: cst.BaseExpression, model: str) -> bool:
    return f"{model}.parameters()" in source.code(given)


def _has_groups(given: cst.BaseExpression) -> bool:
    return isinstance(given, cst.List) and any(isinstance(e.value, cst.Dict) for e in given.elements)


def _with_group(source: Source, given: cst.BaseExpression, model: str) -> str:
    """The groups, and one more for what none of them holds."""
    code = source.code(given)
    parts = [
        source.code(call.func.value)
        for call in source.all(cst.Call, given)
        if isinstance(call.func, cst.Attribute) and call.func.attr.value == "parameters"
    ]
    own = [part for part in parts if part == model or part.startswith((f"{model}.", f"{model}["))]
    rest = f"{model}.parameters()"
    if own:
        modules = f"({', '.join(own)},)" if len(own) == 1 else f"({', '.join(own)})"
        rest = f"[p for p in {rest} if all(p is not q for part in {modules} for q in part.parameters())]"
    return f'{code[:-1].rstrip().rstrip(",")}, {{"params": {rest}}}]'


def _collected(models: list[str]) -> str:
    return "[" + ", ".join(f"*{model}.parameters()" for model in dict.fromkeys(models)) + "]"
