"""match-output and linear-output: no activation between the last layer and a loss that wants raw outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Loss, Node
from vivavoce.record.run import Run
from vivavoce.remedy import activations
from vivavoce.remedy.activations import Use
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import is_compiled, rewrite, source_of
from vivavoce.remedy.source import Source

KINDS = {
    "LogSoftmax": "log_softmax", "Softmax": "softmax", "Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu",
    "Threshold": "threshold", "Softplus": "softplus", "Hardtanh": "hardtanh",
}  # fmt: skip
CLASS_KINDS = {cls: kind for kind, cls in activations.CLASSES.items()}


class OutputLayer(Remedy):
    """Takes the activation at the end of the network away, or puts another in its place."""

    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """The activation that the finding's loss is given."""
        loss = _loss_of(run, finding)
        kind = _kind(loss, finding, run)
        if kind is None:
            return
        becomes = _becomes(loss, kind)
        for file, line in _files(run, finding, kind):
            title = f"no {activations.CLASSES[kind]} at the end" if becomes is None else f"a {becomes} for the {kind}"
            where = {"file": file, "line": line, "kind": kind}
            yield Prescription(self.name, finding.slug, title, {"becomes": becomes}, where)
            return

    def apply(self, prescription: Prescription) -> None:
        """Let the activation hand on what it is given."""
        source = source_of(prescription.where)
        if is_compiled(source):
            rewrite(self, prescription)
            return
        try:
            uses = last_uses(source, prescription.where)
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        activations.apply(source, uses, prescription.numbers.get("becomes"))

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Take the call away, or write `nn.Identity()` for the module."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for use in last_uses(source, where):
                activations.replace(changes, use, prescription.numbers.get("becomes"))
            return changes.edit()
        except CannotEditError as error:
            return Words(f"drop the {where.get('kind')} at the end", str(error), where.get("file"), where.get("line"))


class MatchOutput(OutputLayer):
    """Raw outputs for a loss that takes logits; a sigmoid for the softmax of one unit."""

    name = "match-output"
    treats = ("loss-output-mismatch",)


class LinearOutput(OutputLayer):
    """Outputs without limits."""

    name = "linear-output"
    treats = ("output-range",)


def last_uses(source: Source, where: Mapping[str, Any]) -> list[Use]:
    """The uses of an activation that make the output: on the line that the graph names, else the last in a network.

    Raises:
        CannotEditError: there is none.
    """
    uses = activations.uses_of(source, [where["kind"]])
    line = where.get("line")
    here = [u for u in uses if u.how in ("function", "method") and line and _covers(source, u.node, line)]
    if here:
        return here[-1:]
    modules = [use for use in uses if use.how == "module"]
    final = [use for use in modules if activations.is_output(source, use)]
    if final:
        return final if where["kind"] in ("softmax", "log_softmax") else final[-1:]
    returned = [use for use in uses if use.how != "class" and activations.is_output(source, use)]
    candidates = returned or modules
    if not candidates:
        raise CannotEditError(f"no {where['kind']} is found in this file")
    return candidates[-1:]


def _covers(source: Source, node: cst.CSTNode, line: int) -> bool:
    return source.line(node) <= line <= source.last_line(node)


def _loss_of(run: Run, finding: Finding) -> Loss | None:
    place = (finding.where.file, finding.where.line)
    found = [
        loss
        for loss in run.losses.values()
        if loss.source == "function" and loss.site is not None and (loss.site.file, loss.site.line) == place
    ]
    return found[0] if found else None


def _kind(loss: Loss | None, finding: Finding, run: Run) -> str | None:
    if loss is not None and loss.prediction_op:
        kind = next((kind for op, kind in KINDS.items() if loss.prediction_op.startswith(op)), None)
        if kind is not None:
            return kind
    layers = [module for module in run.modules.values() if module.name == finding.where.layer]
    return next((CLASS_KINDS[m.class_name] for m in layers if m.class_name in CLASS_KINDS), None)


def _becomes(loss: Loss | None, kind: str) -> str | None:
    """A softmax of one unit before the plain binary loss was meant to be a sigmoid."""
    return "sigmoid" if loss is not None and kind == "softmax" and loss.function == "binary_cross_entropy" else None


def _files(run: Run, finding: Finding, kind: str) -> Iterator[tuple[str, int | None]]:
    """Where the activation is called, if autograd noted it; then the files of the models and of the finding."""
    op = next(op for op, name in KINDS.items() if name == kind)
    nodes: list[Node] = [n for n in run.nodes.values() if n.op.startswith(op) and n.site is not None]
    for node in reversed(nodes):
        if node.site is not None and any(True for _ in _uses_in(node.site.file, kind)):
            yield node.site.file, node.site.line
    sites = [m.site for m in run.models.values()] + [o.site for o in run.optimizers.values()]
    files = [site.file for site in sites if site is not None]
    for file in dict.fromkeys([*files, *([finding.where.file] if finding.where.file else [])]):
        if any(True for _ in _uses_in(file, kind)):
            yield file, None


def _uses_in(file: str, kind: str) -> Iterator[Use]:
    source = Source.read(file)
    if source is not None:
        yield from activations.uses_of(source, [kind])
