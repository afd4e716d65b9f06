"""class-weights and label-smoothing: an argument of the cross-entropy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.optimizers import place, rounded
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source, argument

MODULES = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}
SMOOTHING = 0.1  # Szegedy et al. 2016
MOST_CLASSES = 100  # weights that can be written into a call


class LossArgument(Remedy):
    """Gives the loss of the training another argument; that of the validation stays as it is."""

    @abstractmethod
    def numbers(self, run: Run, loss: Loss) -> Iterator[tuple[dict[str, Any], str]]:
        """Arguments to try (lists become tensors), and titles."""

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For every classification loss of the training."""
        trained = {t.owner[1] for t in run.tracks("train/function_loss") if t.owner and len(t)}
        for loss in [run.losses[id] for id in sorted(trained) if id in run.losses]:
            if loss.function in MODULES and loss.site is not None:
                for numbers, title in self.numbers(run, loss):
                    yield Prescription(
                        self.name, finding.slug, title, numbers, place(loss.site, function=loss.function)
                    )
                return

    def apply(self, prescription: Prescription) -> None:
        """Add the argument where the function is called, or the loss module is made."""
        import torch

        where = prescription.where
        source = source_of(where)
        try:
            call = _call(source, where)
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        places = live.Places(str(source.path), [source.end_place(call)])

        def loss(original: Callable[..., Any], prediction: Any, *args: Any, **kwargs: Any) -> Any:
            return original(prediction, *args, **{**kwargs, **_values(prescription.numbers, prediction.device)})

        def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
            original(made, *args, **{**kwargs, **_values(prescription.numbers, None)})

        live.on_function([torch.nn.functional], where["function"], places.hold, loss)
        live.on_construction(getattr(torch.nn, MODULES[where["function"]]), places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """In the call of the function, or where the loss module is made."""
        where = prescription.where
        code = {
            key: f"torch.tensor({v})" if isinstance(v, list) else repr(v) for key, v in prescription.numbers.items()
        }
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            call = _call(source, where)
            for key, value in code.items():
                changes.set_argument(call, key, _on_device(source, call, value))
            if any("torch." in value for value in code.values()):
                changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            text = ", ".join(f"{key}={value}" for key, value in code.items())
            return Words(text, str(error), where.get("file"), where.get("line"))


class ClassWeights(LossArgument):
    """Weights by the inverse of the classes' frequencies."""

    name = "class-weights"
    treats = ("class-ignored", "class-imbalance")
    rank = 1

    def numbers(self, run: Run, loss: Loss) -> Iterator[tuple[dict[str, Any], str]]:
        """From the targets that the run has counted; `pos_weight` for two classes and one output."""
        counts = class_counts(run, loss)
        if not counts or min(counts) <= 0 or len(counts) > MOST_CLASSES:
            return
        if loss.function == "binary_cross_entropy_with_logits":
            weight = rounded(counts[0] / counts[1], 3)
            yield {"pos_weight": [weight]}, f"weigh the rare class {weight:g} times"
        else:
            mean = sum(counts) / len(counts)
            yield {"weight": [rounded(mean / count, 3) for count in counts]}, "weigh the classes by 1 / frequency"


class LabelSmoothing(LossArgument):
    """A target of 0.9 in place of 1."""

    name = "label-smoothing"
    treats = ("label-noise", "overfitting")
    rank = 60

    def numbers(self, run: Run, loss: Loss) -> Iterator[tuple[dict[str, Any], str]]:
        """For the cross-entropy of several classes."""
        if loss.function == "cross_entropy":
            yield {"label_smoothing": SMOOTHING}, f"smooth the labels by {SMOOTHING:g}"


def class_counts(run: Run, loss: Loss) -> list[float]:
    """How many targets of each class were seen in the sampled batches; empty where none were counted."""
    for track in run.tracks("target_classes"):
        if track.owner == ("loss", loss.id) and len(track):
            return [float(value) for value in (track.mean * track.counts[:, None]).sum(axis=0)]
    return []


def _values(numbers: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """The arguments as PyTorch takes them."""
    import torch

    return {key: torch.tensor(v, device=device) if isinstance(v, list) else v for key, v in numbers.items()}


def _call(source: Source, where: Mapping[str, Any]) -> cst.Call:
    function = where["function"]
    here = [call for call in source.calls_at(where["line"]) if source.is_torch(call.func, function)]
    if here:
        return here[0]
    made = source.calls(MODULES[function])
    if len(made) != 1:
        raise CannotEditError(f"it is not clear which {MODULES[function]}(…) makes the loss")
    return made[0]


def _on_device(source: Source, call: cst.Call, code: str) -> str:
    first = argument(call, "input", 0)
    if not code.startswith("torch.tensor"):
        return code
    if first is not None and isinstance(first.value, (cst.Name, cst.Attribute)):
        return f"{code[:-1]}, device={source.code(first.value)}.device)"
    if "cuda" in source.text or ".to(device" in source.text:
        raise CannotEditError("the weights must lie on the device of the outputs")
    return code
