"""shuffle: a new order of the examples in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import loaders
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.optimizers import place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words

POSITION = 2  # DataLoader(dataset, batch_size, shuffle, …)


class Shuffle(Remedy):
    """`shuffle=True` for the loader of the training data."""

    name = "shuffle"
    treats = ("class-ignored", "unshuffled-data", "oscillating-loss")
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the training loader keeps the order."""
        for loader in loaders.training(run):
            if loader.shuffle is False:
                yield Prescription(
                    self.name, finding.slug, "shuffle the training data in each epoch", {}, place(loader.site)
                )

    def apply(self, prescription: Prescription) -> None:
        """Give the loader the argument."""

        def change(given: dict[str, Any], frame: FrameType) -> None:
            if given.get("sampler") is None and given.get("batch_sampler") is None:
                given["shuffle"] = True

        loaders.on_loader(prescription.where, change)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Set the argument where the loader is made."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            changes.set_argument(loaders.loader_call(source, where["line"]), "shuffle", "True", POSITION)
            return changes.edit()
        except CannotEditError as error:
            return Words("DataLoader(…, shuffle=True)", str(error), where.get("file"), where.get("line"))
