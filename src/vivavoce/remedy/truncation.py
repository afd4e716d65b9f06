"""truncate-backpropagation: gradients go back through a limited number of time steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.dropout import files_of
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source

RECURRENCES = ("RNN", "LSTM", "GRU")
SPANS = (20, 5)  # time steps; Williams and Peng 1990 call it the window
CODE = '''class Truncated(torch.nn.Module):
    """Cuts the gradient of a recurrence every few time steps (truncated backpropagation through time)."""

    def __init__(self, recurrence, span):
        super().__init__()
        self.recurrence, self.span = recurrence, span

    def forward(self, x, state=None):
        outputs, axis = [], 1 if self.recurrence.batch_first and x.dim() == 3 else 0
        for part in x.split(self.span, axis):
            if isinstance(state, tuple):
                state = tuple(each.detach() for each in state)
            elif state is not None:
                state = state.detach()
            output, state = self.recurrence(part, state)
            outputs.append(output)
        return torch.cat(outputs, axis), state


'''


class TruncateBackpropagation(Remedy):
    """The sequence in parts, with the hidden state handed on without its graph."""

    name = "truncate-backpropagation"
    treats = ("exploding-gradients", "vanishing-gradients")
    rank = 32

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the run has a recurrent layer whose construction is found; two spans."""
        if not any(module.class_name in RECURRENCES for module in run.modules.values()):
            return
        for file in files_of(run):
            source = Source.read(file)
            calls = source.calls(*RECURRENCES) if source is not None else []
            if source is not None and calls:
                for span in SPANS:
                    title = f"no gradient back over more than {span} time steps"
                    where = {"file": file, "line": source.line(calls[0])}
                    yield Prescription(self.name, finding.slug, title, {"span": span}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Give the recurrence another `forward` when it is built."""
        import torch

        source = source_of(prescription.where)
        places = live.Places(str(source.path), [source.end_place(call) for call in source.calls(*RECURRENCES)])
        names: dict[str, Any] = {"torch": torch}
        exec(compile(CODE, "<remedy>", "exec"), names)
        forward = names["Truncated"].forward

        def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
            original(made, *args, **kwargs)
            part = _Part(made, prescription.numbers["span"])
            made.forward = lambda x, state=None: forward(part, x, state)

        for name in RECURRENCES:
            live.on_construction(getattr(torch.nn, name), places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """A small class before its first use, around the recurrence."""
        where, span = prescription.where, prescription.numbers["span"]
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            calls = source.calls(*RECURRENCES)
            if not calls:
                raise CannotEditError("no recurrent layer is found in this file")
            for call in calls:
                _check(source, call)
                changes.replace(call, f"Truncated({source.code(call)}, {span})")
            changes.before(outermost(source, calls[0]), CODE.splitlines())
            changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            text = f"detach the hidden state every {span} time steps"
            return Words(text, str(error), where.get("file"), where.get("line"))


class _Part:
    """What `Truncated.forward` needs of the object: the recurrence's own forward, and the span."""

    def __init__(self, made: Any, span: int) -> None:
        self.span = span
        self._made = made
        self._forward = type(made).forward
        self.recurrence = self

    @property
    def batch_first(self) -> bool:
        return bool(self._made.batch_first)

    def __call__(self, x: Any, state: Any) -> Any:
        return self._forward(self._made, x, state)


def _check(source: Source, call: cst.Call) -> None:
    statement = source.statement(call)
    if isinstance(statement, cst.Assign):
        name = source.code(statement.targets[0].target)
        if any(
            source.code(node.value) == name for node in source.all(cst.Attribute) if node.attr.value != "recurrence"
        ):
            raise CannotEditError("the script uses attributes of the recurrence, which would lie one level deeper")


def outermost(source: Source, node: cst.CSTNode) -> cst.CSTNode:
    """The statement at the top of the file that a node is part of, with its decorators."""
    top: cst.CSTNode = node
    for above in source.ancestors(node):
        if isinstance(above, cst.Module):
            break
        top = above
    if isinstance(top, (cst.ClassDef, cst.FunctionDef)) and top.decorators:
        return top.decorators[0]
    return top.body[0] if isinstance(top, cst.SimpleStatementLine) else top
