"""A number of an optimizer set to another value, where it is made. The base of several remedies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.optimizers import optimizer_call, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words

POSITIONS = {"lr": 1, "momentum": 2}  # among the arguments of every optimizer that has them


class OptimizerNumber(Remedy):
    """Sets the arguments in `prescription.numbers` (by their names in PyTorch) of the optimizer at a line."""

    keyword: ClassVar[str] = "lr"
    late = True

    @abstractmethod
    def values(self, run: Run, finding: Finding) -> Iterator[tuple[Optimizer, dict[str, Any], str]]:
        """Optimizers, the numbers to try, and the title of each trial."""

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """One prescription a value."""
        for optimizer, numbers, title in self.values(run, finding):
            where = place(optimizer.site, optimizer=optimizer.class_name)
            yield Prescription(self.name, finding.slug, title, numbers, where)

    def apply(self, prescription: Prescription) -> None:
        """Change the defaults that the optimizer's class hands to its base."""

        def change(optimizer: Any, params: list[Any], defaults: dict[str, Any], frame: FrameType) -> None:
            defaults.update({key: value for key, value in prescription.numbers.items() if key in defaults})

        live.on_optimizer(prescription.where, change)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the number where it is written, or the argument."""
        where = prescription.where
        numbers = ", ".join(f"{key}={written(value)}" for key, value in prescription.numbers.items())
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            call = optimizer_call(source, where["line"], where.get("optimizer", ""))
            for keyword, value in prescription.numbers.items():
                changes.set_number(call, keyword, value, POSITIONS.get(keyword))
            return changes.edit()
        except CannotEditError as error:
            text = f"give the optimizer {numbers}"
            return Words(text, str(error), where.get("file"), where.get("line"))
