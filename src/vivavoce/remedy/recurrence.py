"""lstm-for-rnn and gru-for-rnn: recurrences with a path on which gradients neither explode nor vanish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source

PLAIN = "RNN"
NONLINEARITY = 3  # position after input_size, hidden_size, num_layers


class OtherRecurrence(Remedy):
    """Another recurrence for `nn.RNN`, where the script can go on using it as it does."""

    cls: ClassVar[str]

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the run has a plain RNN whose construction is found."""
        if not any(module.class_name == PLAIN for module in run.modules.values()):
            return
        sites = [m.site for m in run.models.values()] + [o.site for o in run.optimizers.values()]
        for file in dict.fromkeys(site.file for site in sites if site is not None):
            source = Source.read(file)
            if source is not None and source.calls(PLAIN):
                where = {"file": file, "line": source.line(source.calls(PLAIN)[0])}
                yield Prescription(self.name, finding.slug, f"nn.{self.cls} for nn.{PLAIN}", {}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Let the object be the other recurrence before it is built."""
        import torch

        source = source_of(prescription.where)
        try:
            calls = self._calls(source)
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        other: Any = getattr(torch.nn, self.cls)
        names = [
            "input_size",
            "hidden_size",
            "num_layers",
            "nonlinearity",
            "bias",
            "batch_first",
            "dropout",
            "bidirectional",
        ]

        def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            given.pop("nonlinearity", None)
            made.__class__ = other
            other.__init__(made, given.pop("input_size"), given.pop("hidden_size"), **given)

        places = live.Places(str(source.path), [source.end_place(call) for call in calls])
        live.on_construction(torch.nn.RNN, places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the name, and drop the nonlinearity."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for call in self._calls(source):
                if isinstance(call.func, cst.Attribute):
                    changes.replace(call.func.attr, self.cls)
                else:
                    changes.need(self.cls, f"from torch.nn import {self.cls}")
                    changes.replace(call.func, self.cls)
                changes.remove_argument(call, "nonlinearity", NONLINEARITY)
            return changes.edit()
        except CannotEditError as error:
            return Words(f"nn.{self.cls}(…) for nn.RNN(…)", str(error), where.get("file"), where.get("line"))

    def _calls(self, source: Source) -> list[cst.Call]:
        calls = source.calls(PLAIN)
        if not calls:
            raise CannotEditError("no nn.RNN(…) is found in this file")
        self._check(source, calls)
        return calls

    def _check(self, source: Source, calls: list[cst.Call]) -> None:
        """Raise CannotEditError where the script uses the recurrence in a way that the other does not have."""


class GruForRnn(OtherRecurrence):
    """GRU (Cho et al. 2014): takes and gives the same hidden state as the plain recurrence."""

    name = "gru-for-rnn"
    treats = ("exploding-gradients", "vanishing-gradients", "saturated-units")
    rank = 31
    cls = "GRU"


class LstmForRnn(OtherRecurrence):
    """LSTM (Hochreiter and Schmidhuber 1997). Its hidden state is a pair: the script must not use the state itself."""

    name = "lstm-for-rnn"
    treats = ("exploding-gradients", "vanishing-gradients", "saturated-units")
    rank = 30
    cls = "LSTM"

    def _check(self, source: Source, calls: list[cst.Call]) -> None:
        for name in {_assigned_to(source, call) for call in calls}:
            for use in source.all(cst.Call):
                if source.code(use.func) == name and (len(use.args) != 1 or _keeps_state(source, use)):
                    raise CannotEditError(
                        "the script uses the hidden state, which is a pair in an LSTM; nn.GRU keeps it"
                    )


def _assigned_to(source: Source, call: cst.Call) -> str:
    statement = source.statement(call)
    if not isinstance(statement, cst.Assign) or statement.value is not call:
        raise CannotEditError("the recurrence is not assigned to a variable where it is made")
    return source.code(statement.targets[0].target)


def _keeps_state(source: Source, use: cst.Call) -> bool:
    """Whether the second result of a call is given a name that is read later."""
    above = source.parent(use)
    if isinstance(above, cst.Subscript):
        return not source.code(above).endswith("[0]")
    if not isinstance(above, cst.Assign) or not isinstance(above.targets[0].target, cst.Tuple):
        return True
    second = source.code(above.targets[0].target.elements[1].value)
    function = source.function(use)
    names = [node for node in source.all(cst.Name, function) if node.value == second]
    return len(names) > 1 and not second.startswith("_")
