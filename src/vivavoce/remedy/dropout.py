"""dropout and less-regularisation: more of it, or less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import activations, live
from vivavoce.remedy.activations import Use
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.constants import follow
from vivavoce.remedy.optimizers import optimizer_call, optimizers_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import is_compiled, rewrite, source_of
from vivavoce.remedy.source import Source, argument

RATES = (0.2, 0.5)  # Srivastava et al. 2014: 0.2 for inputs, 0.5 for hidden units
HIDDEN = ("relu", "gelu", "tanh", "selu", "leaky_relu", "elu", "sigmoid")
LESS_DROPOUT = 0.1
LESS_DECAY = 0.0
LAYERS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout")


class Dropout(Remedy):
    """Dropout behind every hidden activation."""

    name = "dropout"
    treats = ("overfitting", "stopped-too-late")
    rank = 40

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where hidden activations are found in the model's file."""
        for file in files_of(run):
            source = Source.read(file)
            if source is not None and hidden(source):
                for rate in RATES:
                    title = f"dropout of {rate:g} behind the hidden activations"
                    yield Prescription(self.name, finding.slug, title, {"p": rate}, {"file": file})
                return

    def apply(self, prescription: Prescription) -> None:
        """Drop in a hook of the module, or on the way out of the function."""
        import torch
        from torch.nn import functional

        source = source_of(prescription.where)
        if is_compiled(source):
            rewrite(self, prescription)
            return
        uses, rate = hidden(source), prescription.numbers["p"]
        file = str(source.path)
        modules = live.Places(file, [source.end_place(use.node) for use in uses if use.how == "module"])
        functions = live.Places(file, [source.end_place(use.node) for use in uses if use.how != "module"])

        def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
            original(made, *args, **kwargs)
            made.register_forward_hook(lambda module, given, out: functional.dropout(out, rate, module.training))

        def drop(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            frame = live.caller(1)
            training = True if frame is None else live.evaluate(frame, "self.training")
            return functional.dropout(original(*args, **kwargs), rate, training)

        for kind in HIDDEN:
            live.on_construction(getattr(torch.nn, activations.CLASSES[kind]), modules.hold, build)
            owners = [functional, *([torch, torch.Tensor] if kind in activations.IN_TORCH else [])]
            live.on_function(owners, kind, functions.hold, drop)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Pair the module with a dropout layer, or wrap the function's call."""
        where, rate = prescription.where, written(prescription.numbers["p"])
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for use in hidden(source):
                code = source.code(use.node)
                if use.how == "module":
                    changes.replace(use.node, f"torch.nn.Sequential({code}, torch.nn.Dropout({rate}))")
                else:
                    changes.replace(use.node, f"torch.nn.functional.dropout({code}, {rate}, self.training)")
            changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            return Words(f"nn.Dropout({rate}) behind each hidden activation", str(error), where.get("file"), None)


class LessRegularisation(Remedy):
    """No weight decay, and little dropout."""

    name = "less-regularisation"
    treats = ("underfitting", "guessing", "train-eval-mismatch")
    rank = 10

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the run has either."""
        for optimizer in optimizers_of(run, finding)[:1]:
            decays = any(float(group.get("weight_decay") or 0) > LESS_DECAY for group in optimizer.groups)
            drops = [m for m in run.modules.values() if m.class_name in LAYERS]
            if decays or drops:
                numbers = {**({"weight_decay": LESS_DECAY} if decays else {}), **({"p": LESS_DROPOUT} if drops else {})}
                title = " and ".join(
                    [*(["no weight decay"] if decays else []), *([f"dropout of {LESS_DROPOUT:g}"] if drops else [])]
                )
                where = place(optimizer.site, optimizer=optimizer.class_name)
                yield Prescription(self.name, finding.slug, title, numbers, where)

    def apply(self, prescription: Prescription) -> None:
        """Change the optimizer's defaults and the rate of every dropout layer that the script makes."""
        import torch

        numbers = prescription.numbers

        def decay(optimizer: Any, params: list[Any], defaults: dict[str, Any], frame: FrameType) -> None:
            if "weight_decay" in numbers and "weight_decay" in defaults:
                defaults["weight_decay"] = numbers["weight_decay"]

        live.on_optimizer(prescription.where, decay)
        source = Source.read(prescription.where["file"])
        if "p" not in numbers or source is None:
            return
        places = live.Places(str(source.path), [source.end_place(call) for call in source.calls(*LAYERS)])

        def build(original: Callable[..., None], made: Any, p: float = 0.5, *args: Any, **kwargs: Any) -> None:
            original(made, min(p, numbers["p"]), *args, **kwargs)

        for name in LAYERS:
            live.on_construction(getattr(torch.nn, name), places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the numbers where they are written."""
        where, numbers = prescription.where, prescription.numbers
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            if "weight_decay" in numbers:
                call = optimizer_call(source, where["line"], where.get("optimizer", ""))
                changes.set_number(call, "weight_decay", numbers["weight_decay"])
            for layer in source.calls(*LAYERS) if "p" in numbers else ():
                _less(changes, source, layer, numbers["p"])
            return changes.edit()
        except CannotEditError as error:
            return Words("no weight decay, nn.Dropout(0.1)", str(error), where.get("file"), where.get("line"))


def _less(changes: Changes, source: Source, layer: cst.Call, rate: float) -> None:
    arg = argument(layer, "p", 0)
    constant = None if arg is None else follow(source, arg.value)
    if constant is None or constant.value > rate:
        changes.set_number(layer, "p", rate, 0)


def hidden(source: Source) -> list[Use]:
    """Activations between the layers, where dropout can stand."""
    uses = [u for u in activations.uses_of(source, HIDDEN) if u.how != "class" and not activations.gates(source, u)]
    uses = [use for use in uses if not activations.is_output(source, use)]
    return [use for use in uses if use.how == "module" or _in_module(source, use)]


def _in_module(source: Source, use: Use) -> bool:
    """A function is called in a method, which knows by `self.training` whether the network is trained."""
    function = source.function(use.node)
    owner = source.around(use.node, cst.ClassDef)
    inside = function is not None and owner is not None and bool(function.params.params)
    return inside and function is not None and function.params.params[0].name.value == "self"


def files_of(run: Run) -> list[str]:
    """The files in which the run's models and optimizers are made."""
    sites = [m.site for m in run.models.values()] + [o.site for o in run.optimizers.values()]
    return list(dict.fromkeys(site.file for site in sites if site is not None))
