"""relu, selu, leaky-relu, gelu: activations through which gradients pass, with weights to match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import activations
from vivavoce.remedy.activations import CLASSES, Use
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.initialisation import weights_of_relu
from vivavoce.remedy.live import after_optimizer
from vivavoce.remedy.optimizers import models_of, optimizer_call, optimizer_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import is_compiled, rewrite, source_of
from vivavoce.remedy.snippet import run_lines
from vivavoce.remedy.source import Source

SATURATING = ("tanh", "sigmoid")
DYING = ("relu",)


class OtherActivation(Remedy):
    """Puts another activation in the place of the hidden ones; those that make an output or a gate stay."""

    to: ClassVar[str]  # its name in torch.nn.functional
    replaces: ClassVar[tuple[str, ...]]
    gain: ClassVar[str | None] = None  # of the weights that are drawn to match; None leaves them as they are

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the run has seen an activation of the kinds that this one replaces."""
        optimizer = optimizer_of(run, finding)
        seen = {m.class_name for m in run.modules.values()} | {_of_op(n.op) for n in run.nodes.values()}
        kinds = [kind for kind in self.replaces if kind in seen or CLASSES[kind] in seen]
        files = [m.site.file for m in run.models.values() if m.site is not None]
        files += [optimizer.site.file] if optimizer is not None and optimizer.site is not None else []
        for file in dict.fromkeys(files):
            source = Source.read(file)
            if kinds and source is not None and _split(source, kinds)[0]:
                made = place(optimizer.site, optimizer=optimizer.class_name) if optimizer else {}
                where = {"file": file, "kinds": kinds, "made": made}
                old = " and ".join(CLASSES[kind] for kind in kinds)
                weights = f", weights drawn anew with {self.gain} gain" if self.gain else ""
                yield Prescription(self.name, finding.slug, f"{CLASSES[self.to]} for {old}{weights}", {}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Let every activation of those kinds that this file makes or calls be the other, but for outputs and gates."""
        where = prescription.where
        source = source_of(where)
        if is_compiled(source):
            rewrite(self, prescription)
            return
        hidden, spared = _split(source, where["kinds"])
        activations.apply(source, [use for use in hidden if use.how != "class"], self.to, where["kinds"], spared)
        if self.gain:
            _draw_weights(where.get("made", {}), self.gain)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the names, and add the initialisation where the optimizer is made."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            hidden, _ = _split(source, where["kinds"])
            for use in hidden:
                activations.replace(changes, use, self.to)
            if self.gain and where.get("made"):
                _write_weights(changes, source, where["made"], self.gain)
            return changes.edit()
        except CannotEditError as error:
            return Words(f"nn.{CLASSES[self.to]}() for the hidden activations", str(error), where.get("file"), None)


class Relu(OtherActivation):
    """ReLU with He initialisation."""

    name = "relu"
    treats = ("activation-scale", "exploding-gradients", "vanishing-gradients", "saturated-units", "underfitting")
    rank = 40
    to = "relu"
    replaces = SATURATING
    gain = "relu"


class Selu(OtherActivation):
    """SELU, which keeps mean and variance by itself (Klambauer et al. 2017), with LeCun initialisation."""

    name = "selu"
    treats = ("activation-scale", "vanishing-gradients", "saturated-units")
    rank = 43
    to = "selu"
    replaces = (*SATURATING, *DYING)
    gain = "linear"


class LeakyRelu(OtherActivation):
    """A slope of 0.01 below zero, so that no unit is lost for good."""

    name = "leaky-relu"
    treats = ("dead-units",)
    rank = 30
    to = "leaky_relu"
    replaces = DYING


class Gelu(OtherActivation):
    """Smooth, and never quite flat near zero (Hendrycks and Gimpel 2016)."""

    name = "gelu"
    treats = ("saturated-units", "dead-units")
    rank = 31
    to = "gelu"
    replaces = (*SATURATING, *DYING)


def _of_op(op: str) -> str:
    return op.removesuffix("Backward0").lower()


def _split(source: Source, kinds: list[str]) -> tuple[list[Use], list[Use]]:
    """Hidden activations, and those that stay: outputs and gates."""
    uses = activations.uses_of(source, kinds)
    stay = [use for use in uses if activations.is_output(source, use) or activations.gates(source, use)]
    return [use for use in uses if use not in stay], stay


def _draw_weights(made: Mapping[str, Any], gain: str) -> None:
    source = Source.read(str(made.get("file", "")))
    if source is None:
        return
    try:
        models = models_of(source, optimizer_call(source, made["line"], made.get("optimizer", "")))
    except CannotEditError:
        return
    code = compile("\n".join(weights_of_relu(models, gain)), "<remedy>", "exec")
    after_optimizer(made, lambda optimizer, frame: run_lines(code, frame))


def _write_weights(changes: Changes, source: Source, made: Mapping[str, Any], gain: str) -> None:
    if Path(made["file"]).name != source.path.name:
        return
    try:
        call = optimizer_call(source, made["line"], made.get("optimizer", ""))
        models, statement = models_of(source, call), source.statement(call)
    except CannotEditError:
        return
    if statement is not None:
        changes.after(statement, weights_of_relu(models, gain))
        changes.need("torch", "import torch")
