"""normalise-input and clean-input: inputs of a usual size, and finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live, loaders
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.initialisation import MATRICES
from vivavoce.remedy.loss_calls import loss_calls
from vivavoce.remedy.optimizers import optimizers_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.snippet import Snippet, run_lines
from vivavoce.remedy.source import Source, argument


class NormaliseInput(Snippet):
    """Mean 0 and deviation 1 by feature (by channel for images), in a hook before the model's forward.

    Then in one before its first layer: what `forward` does to the inputs before that may be what is wrong.
    """

    name = "normalise-input"
    treats = ("activation-scale", "saturated-units", "dead-units", "unnormalised-input")
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the models of the optimizers that step."""
        for optimizer in optimizers_of(run, finding)[:2]:
            where = place(optimizer.site, optimizer=optimizer.class_name)
            title = "normalise the inputs with mean and deviation of the first batch"
            yield Prescription(self.name, finding.slug, title, {}, where)
            title = "normalise what the first layer is given with mean and deviation of the first batch"
            yield Prescription(self.name, finding.slug, title, {"first_layer": True}, where)

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A hook that learns the numbers from the first batch and keeps them."""
        inside = prescription.numbers.get("first_layer")
        kept = "1 if isinstance(module, torch.nn.modules.conv._ConvNd) else x.dim() - 1" if inside else "1"
        places = [line for model in models for line in _first_layer(model)] if inside else []
        return [
            "",
            "def standardise(module, inputs):  # mean 0 and deviation 1, with the numbers of the first batch",
            "    x = inputs[0]",
            "    if not torch.is_tensor(x) or not x.is_floating_point():",
            "        return inputs",
            '    if not hasattr(module, "input_mean"):',
            f"        kept = {kept}",
            "        over = [dim for dim in range(x.dim()) if dim != kept] or [0]",
            "        deviation = x.detach().std(over, keepdim=True)",
            '        module.register_buffer("input_mean", x.detach().mean(over, keepdim=True), persistent=False)',
            "        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))",
            '        module.register_buffer("input_deviation", deviation, persistent=False)',
            "    return ((x - module.input_mean) / module.input_deviation, *inputs[1:])",
            "",
            *(places or [f"{model}.register_forward_pre_hook(standardise)" for model in models]),
        ]


def _first_layer(model: str) -> list[str]:
    return [
        f"for module in {model}.modules():",
        f"    if isinstance(module, {MATRICES}):",
        "        module.register_forward_pre_hook(standardise)",
        "        break",
    ]


class CleanInput(Snippet):
    """Zeros for NaN and infinite inputs of the model."""

    name = "clean-input"
    treats = ("bad-input",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the model of the finding's optimizer; then with the targets of its losses as well."""
        for optimizer in optimizers_of(run, finding)[:1]:
            where = place(optimizer.site, optimizer=optimizer.class_name)
            yield Prescription(self.name, finding.slug, "zeros for NaN and infinite inputs", {}, where)
            losses = [
                ls for ls in run.losses.values() if ls.source == "function" and ls.target_dtype.startswith("float")
            ]
            lines = sorted({ls.site.line for ls in losses if ls.site is not None and ls.site.file == where["file"]})
            if lines:
                targets = {"file": where["file"], "line": lines[0], "lines": lines}
                targets["functions"] = sorted({loss.function for loss in losses})
                title = "zeros for NaN and infinite inputs and targets"
                yield Prescription(self.name, finding.slug, title, {}, {**where, "targets": targets})

    def apply(self, prescription: Prescription) -> None:
        """Hook the model, and clean the targets on their way into the loss."""
        super().apply(prescription)
        targets = prescription.where.get("targets")
        source = Source.read(prescription.where["file"]) if targets else None
        if targets and source is not None:
            places = live.Places(str(source.path), [source.end_place(call) for call in loss_calls(source, targets)])
            _clean_targets(places, targets["functions"])

    def write_more(self, changes: Changes, prescription: Prescription) -> None:
        """`torch.nan_to_num` around the targets."""
        for call in (
            loss_calls(changes.source, prescription.where["targets"]) if "targets" in prescription.where else ()
        ):
            target = argument(call, "target", 1)
            if target is None:
                raise CannotEditError("which argument is the target cannot be told")
            code = changes.source.code(target.value)
            changes.replace(target.value, f"torch.nan_to_num({code}, posinf=0.0, neginf=0.0)")

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A hook a model."""
        clean = "(torch.nan_to_num(inputs[0], posinf=0.0, neginf=0.0), *inputs[1:])"
        return [f"{model}.register_forward_pre_hook(lambda module, inputs: {clean})" for model in models]


def _clean_targets(places: live.Places, functions: list[str]) -> None:
    import torch

    def cleaned(original: Callable[..., Any], prediction: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        return original(prediction, torch.nan_to_num(target, posinf=0.0, neginf=0.0), *args, **kwargs)

    for function in functions:
        live.on_function([torch.nn.functional], function, places.hold, cleaned)


class CleanData(Remedy):
    """Zeros for NaN and infinite values in the data set of the training loader: inputs and targets."""

    name = "clean-data"
    treats = ("non-finite", "bad-input")
    rank = 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For loaders of tensors."""
        for loader in loaders.training(run)[:1]:
            title = "zeros for NaN and infinite values in the data set"
            yield Prescription(self.name, finding.slug, title, {}, place(loader.site))

    def apply(self, prescription: Prescription) -> None:
        """Clean the tensors when the loader is made."""
        source = source_of(prescription.where)
        try:
            lines = _cleaning(source, prescription.where["line"])[1]
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        code = compile("\n".join(lines), "<remedy>", "exec")
        loaders.on_loader(prescription.where, lambda given, frame: run_lines(code, frame))

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """A loop before the loader is made."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            statement, lines = _cleaning(source, where["line"])
            changes.before(statement, lines)
            return changes.edit()
        except CannotEditError as error:
            return Words("x = torch.nan_to_num(x)", str(error), where.get("file"), where.get("line"))


def _cleaning(source: Source, line: int) -> tuple[cst.CSTNode, list[str]]:
    call = loaders.loader_call(source, line)
    dataset = tensors_of(source, call)
    statement = source.statement(call)
    if statement is None:
        raise CannotEditError("the loader is not made by a statement")
    return statement, [
        f"for tensor in {dataset}.tensors:",
        "    tensor.nan_to_num_(posinf=0.0, neginf=0.0)",
    ]


def tensors_of(source: Source, call: cst.Call) -> str:
    """The variable that holds the `TensorDataset` of a loader.

    Raises:
        CannotEditError: the data set is something else, or has no name.
    """
    if not call.args or not isinstance(call.args[0].value, (cst.Name, cst.Attribute)):
        raise CannotEditError("the data set has no name where the loader is made")
    name = source.code(call.args[0].value)
    values = [a.value for a in source.all(cst.Assign) if source.code(a.targets[0].target) == name]
    if any(isinstance(value, cst.Call) and source.code(value.func).endswith("TensorDataset") for value in values):
        return name
    raise CannotEditError("the data set is not seen to be made of tensors")
