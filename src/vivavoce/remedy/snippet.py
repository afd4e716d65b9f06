"""A few lines of code put beside the statement that makes an optimizer. The base of several remedies.

A live trial executes the same lines at the same moment, in the user's frame.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import libcst as cst

from vivavoce.attach.sites import local_variables
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.optimizers import models_of, optimizer_call, variable_of
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source


class Snippet(Remedy):
    """Lines of code before or behind the statement that makes the optimizer of `prescription.where`."""

    behind: ClassVar[bool] = False
    needs_models: ClassVar[bool] = True

    @abstractmethod
    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """The lines, with the expressions that the models and the optimizer have there.

        They may use the name `torch`, and no other that the script does not have.
        """

    def write_more(self, changes: Changes, prescription: Prescription) -> None:
        """Write what a remedy needs at other places. Raises CannotEditError where it cannot."""

    def apply(self, prescription: Prescription) -> None:
        """Execute the lines when the optimizer is made."""
        where = prescription.where
        source = source_of(where)
        try:
            _, models, optimizer = self._find(source, where)
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        code = compile("\n".join(self.lines(prescription, models, optimizer)), "<remedy>", "exec")

        if self.behind:
            live.after_optimizer(where, lambda made, frame: run_lines(code, frame, optimizer, made))
        else:
            live.on_optimizer(where, lambda made, given, defaults, frame: run_lines(code, frame))

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Write the lines into the source."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            statement, models, optimizer = self._find(source, where)
            lines = self.lines(prescription, models, optimizer)
            if self.behind:
                changes.after(statement, lines)
            else:
                changes.before(statement, lines)
            changes.need("torch", "import torch")
            self.write_more(changes, prescription)
            return changes.edit()
        except CannotEditError as error:
            beside = "behind" if self.behind else "before"
            text = f"{beside} the optimizer is made: " + "; ".join(self.lines(prescription, ["model"], "optimizer"))
            return Words(text, str(error), where.get("file"), where.get("line"))

    def _find(self, source: Source, where: Mapping[str, Any]) -> tuple[cst.CSTNode, list[str], str]:
        call = optimizer_call(source, where["line"], where.get("optimizer", ""))
        statement = source.statement(call)
        if statement is None:
            raise CannotEditError("the optimizer is not made by a statement")
        models = models_of(source, call) if self.needs_models else []
        return statement, models, variable_of(source, call) if self.behind else ""


def run_lines(code: Any, frame: FrameType, optimizer: str = "", made: Any = None) -> None:
    """Execute code in a copy of the user's frame, where `optimizer` is the one just made."""
    import torch

    names = {"torch": torch, **frame.f_globals, **local_variables(frame)}
    if optimizer:
        owner, _, attribute = optimizer.rpartition(".")
        if owner:
            names[owner.partition(".")[0]] = _Standing(names.get(owner.partition(".")[0]), attribute, made)
        else:
            names[optimizer] = made
    exec(code, names)


class _Standing:
    """Stands for an object whose attribute is about to be set: `self`, of which `self.optimizer` is being made."""

    def __init__(self, owner: Any, attribute: str, value: Any) -> None:
        self.__dict__["_owner"] = owner
        self.__dict__[attribute] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_owner"], name)
