"""smaller-batch and larger-batch, with the learning rate that goes with them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.examine.reading import learning_rate
from vivavoce.record.run import Run
from vivavoce.remedy import live, loaders
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.constants import Constant, follow
from vivavoce.remedy.dropout import files_of
from vivavoce.remedy.graph import training_lines
from vivavoce.remedy.optimizers import optimizer_call, optimizers_of, place, rounded
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.shuffle_slices import batch_loop, slices
from vivavoce.remedy.source import Source

SMALLER = (1 / 8, 1 / 2)  # factors on the batch
LARGER = (4, 16)
LEAST, MOST = 4, 4096  # examples
ADAPTIVE = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop")


class BatchSize(Remedy):
    """Another batch size where the loader is made; the learning rate follows it (linear; by its root for Adam).

    The linear rule is that of Goyal et al. 2017, the root rule that of Malladi et al. 2022.
    """

    @abstractmethod
    def factors(self) -> tuple[float, ...]:
        """Factors on the batch size."""

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the training loader, or the batches that the training cuts by hand; the rate of the finding's optimizer."""
        optimizers = optimizers_of(run, finding)[:1]
        for size, most, where in _batches(run):
            for factor in self.factors():
                batch = round(size * factor)
                if not LEAST <= batch <= most or batch == size:
                    continue
                numbers: dict[str, Any] = {"batch_size": batch}
                more = dict(where)
                for optimizer in optimizers:
                    rate = learning_rate(optimizer)
                    if rate:
                        scale = batch / size
                        numbers["lr"] = rounded(
                            rate * (math.sqrt(scale) if optimizer.class_name in ADAPTIVE else scale)
                        )
                        more["made"] = place(optimizer.site, optimizer=optimizer.class_name)
                title = f"batches of {batch:,} instead of {size:,}"
                title += f", learning rate {numbers['lr']:g}" if "lr" in numbers else ""
                yield Prescription(self.name, finding.slug, title, numbers, more)

    def apply(self, prescription: Prescription) -> None:
        """Change the arguments of the loader and the defaults of the optimizer."""
        numbers = prescription.numbers
        if "lines" in prescription.where:
            rewrite(self, prescription)
            return

        def batches(given: dict[str, Any], frame: FrameType) -> None:
            if given.get("batch_sampler") is None:
                given["batch_size"] = numbers["batch_size"]

        loaders.on_loader(prescription.where, batches)
        if "lr" in numbers and "made" in prescription.where:

            def rate(optimizer: Any, params: list[Any], defaults: dict[str, Any], frame: FrameType) -> None:
                defaults.update({"lr": numbers["lr"]} if "lr" in defaults else {})

            live.on_optimizer(prescription.where["made"], rate)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Set both numbers where they are written."""
        where, numbers = prescription.where, prescription.numbers
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            if "lines" in where:
                _cut(changes, where["lines"], numbers["batch_size"])
            else:
                call = loaders.loader_call(source, where["line"])
                changes.set_number(call, "batch_size", numbers["batch_size"], 1)
            made = where.get("made")
            if "lr" in numbers and made:
                if Path(made["file"]).name != source.path.name:
                    raise CannotEditError("loader and optimizer are made in different files")
                changes.set_number(optimizer_call(source, made["line"], made["optimizer"]), "lr", numbers["lr"], 1)
            return changes.edit()
        except CannotEditError as error:
            text = ", ".join(f"{key}={written(value)}" for key, value in numbers.items())
            return Words(text, str(error), where.get("file"), where.get("line"))


def _batches(run: Run) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The batch size of the training, the largest that makes sense, and the place where it is set."""
    for loader in loaders.training(run)[:1]:
        if loader.batch_size is not None:
            yield loader.batch_size, min(MOST, loader.dataset_size or MOST), place(loader.site)
        return
    for file in files_of(run):
        source = Source.read(file)
        lines = training_lines(run, file)
        loop = batch_loop(source, lines) if source is not None else None
        constant = _size(source, loop) if source is not None and loop is not None else None
        if source is not None and loop is not None and constant is not None and constant.whole:
            yield int(constant.value), MOST, {"file": file, "line": source.line(loop), "lines": lines}
            return


def _size(source: Source, loop: cst.For) -> Constant | None:
    """The step of `range(start, stop, size)`."""
    return follow(source, loop.iter.args[2].value) if isinstance(loop.iter, cst.Call) else None


def _cut(changes: Changes, lines: list[int], batch: int) -> None:
    """Write another size where the loop over the batches has it, and in the slices where it is a number there.

    Raises:
        CannotEditError: it is computed.
    """
    source = changes.source
    loop = batch_loop(source, lines)
    constant = _size(source, loop) if loop is not None else None
    if loop is None or constant is None:
        raise CannotEditError("the size of the batches is computed")
    changes.replace(constant.node, str(batch))
    if not constant.names:
        for node in slices(source, loop):
            for number in source.all(cst.Integer, node):
                if number.value == source.code(constant.node):
                    changes.replace(number, str(batch))


class SmallerBatch(BatchSize):
    """More, noisier steps for the same epochs."""

    name = "smaller-batch"
    treats = ("exploding-gradients", "batch-too-large")
    rank = 70

    def factors(self) -> tuple[float, ...]:
        """An eighth, and a half."""
        return SMALLER


class LargerBatch(BatchSize):
    """Fewer, quieter steps."""

    name = "larger-batch"
    treats = ("gradient-spikes", "batch-too-small", "oscillating-loss")
    rank = 50

    def factors(self) -> tuple[float, ...]:
        """Four and sixteen times."""
        return LARGER
