"""match-loss: the loss function that goes with the outputs as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.loss_calls import loss_calls, replace_losses
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.source import Source, argument

MODULES = {
    "cross_entropy": "CrossEntropyLoss", "nll_loss": "NLLLoss", "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}  # fmt: skip
LOG = "torch.log({}.clamp_min(1e-12))"
#: (loss function, start of the operation before it): the other function, and what is done to the predictions.
OTHERS = {
    ("cross_entropy", "Softmax"): ("nll_loss", LOG),
    ("nll_loss", "Softmax"): ("nll_loss", LOG),
    ("nll_loss", "Addmm"): ("cross_entropy", "{}"),
    ("binary_cross_entropy_with_logits", "Sigmoid"): ("binary_cross_entropy", "{}"),
}


class MatchLoss(Remedy):
    """Leaves the network as it is, whose outputs may be meant as probabilities, and changes every call of the loss."""

    name = "match-loss"
    treats = ("loss-output-mismatch",)
    rank = 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the finding's loss, and the same function elsewhere in its file: the validation."""
        here = (finding.where.file, finding.where.line)
        for loss in run.losses.values():
            if loss.source != "function" or loss.site is None or (loss.site.file, loss.site.line) != here:
                continue
            other = _other(loss)
            if other is not None:
                lines = sorted({s.site.line for s in run.losses.values() if s.site and _is_like(s, loss)})
                where = {"file": here[0], "line": here[1], "lines": lines, "functions": [loss.function]}
                title = f"{other[0]} for {loss.function}" if other[0] != loss.function else "logarithms of the outputs"
                numbers = {"function": other[0], "prediction": other[1]}
                yield Prescription(self.name, finding.slug, title, {}, {**where, **numbers})
                return

    def apply(self, prescription: Prescription) -> None:
        """Call the other function at these places."""
        import torch

        where = prescription.where
        other, code = getattr(torch.nn.functional, where["function"]), where["prediction"].format("prediction")

        def loss(original: Callable[..., Any], prediction: Any, *args: Any, **kwargs: Any) -> Any:
            return other(eval(code, {"torch": torch, "prediction": prediction}), *args, **_shared(kwargs))

        replace_losses(self, prescription, loss)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the function's name, or that of the module where it is made, and the predictions in the calls."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            made = False
            for call in loss_calls(source, where):
                direct = source.is_torch(call.func, where["functions"][0])
                made = made or not direct
                if direct:
                    _rename(changes, call, where["function"])
                _transform(changes, source, call, where["prediction"])
            for call in source.calls(MODULES[where["functions"][0]]) if made else ():
                _rename(changes, call, MODULES[where["function"]])
            return changes.edit()
        except CannotEditError as error:
            return Words(f"F.{where.get('function')}(…)", str(error), where.get("file"), where.get("line"))


def _other(loss: Loss) -> tuple[str, str] | None:
    keys = [key for key in OTHERS if key[0] == loss.function and loss.prediction_op.startswith(key[1])]
    return OTHERS[keys[0]] if keys else None


def _is_like(loss: Loss, other: Loss) -> bool:
    same_file = loss.site is not None and other.site is not None and loss.site.file == other.site.file
    return loss.source == "function" and same_file and loss.function == other.function


def _shared(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that all of these functions have and that a module hands on."""
    return {key: value for key, value in kwargs.items() if key in ("weight", "reduction") and value is not None}


def _rename(changes: Changes, call: cst.Call, name: str) -> None:
    source = changes.source
    if isinstance(call.func, cst.Attribute):
        changes.replace(call.func.attr, name)
        return
    package = "torch.nn" if name[0].isupper() else "torch.nn.functional"
    if source.code(call.func) != name:
        changes.need(name, f"from {package} import {name}")
        changes.replace(call.func, name)


def _transform(changes: Changes, source: Source, call: cst.Call, template: str) -> None:
    prediction = argument(call, "input", 0)
    if prediction is None:
        raise CannotEditError("which argument is the prediction cannot be told")
    if template != "{}":
        code = source.code(prediction.value)
        plain = isinstance(prediction.value, (cst.Name, cst.Attribute, cst.Call, cst.Subscript))
        changes.replace(prediction.value, template.format(code if plain else f"({code})"))
        changes.need("torch", "import torch")
