"""slower-schedule: a learning rate that falls over the whole run, not over its first steps."""

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
from vivavoce.remedy.optimizers import rounded
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.source import Source

LEFT = 0.03  # fraction of the learning rate at the end of the run
NUMBERS = {  # scheduler: argument, position
    "ExponentialLR": ("gamma", 1), "StepLR": ("step_size", 1), "CosineAnnealingLR": ("T_max", 1),
    "LinearLR": ("total_iters", 3), "PolynomialLR": ("total_iters", 1),
}  # fmt: skip
DIGITS = 6


class SlowerSchedule(Remedy):
    """Another number for the scheduler, from the number of times that it steps."""

    name = "slower-schedule"
    treats = ("learning-rate-too-low",)
    rank = 5

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the learning rate changed in the run, and a known scheduler is found in the source."""
        changes = max((len(track) for track in run.tracks("learning_rate")), default=0)
        for file in files_of(run) if changes > 1 else ():
            source = Source.read(file)
            for call in source.calls(*NUMBERS) if source is not None else ():
                assert source is not None
                kind = source.code(call.func).rpartition(".")[2]
                keyword, value = NUMBERS[kind][0], _value(kind, max(changes, 2), run.steps)
                where = {"file": file, "line": source.name_line(call), "kind": kind}
                title = f"a {kind} that lasts for the run: {keyword}={value:g}"
                yield Prescription(self.name, finding.slug, title, {keyword: value}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Change the scheduler's argument when it is built."""
        import torch

        where = prescription.where
        source = source_of(where)
        kind = where["kind"]
        keyword, position = NUMBERS[kind]
        places = live.Places(str(source.path), [source.end_place(call) for call in _calls(source, where)])

        def build(original: Callable[..., None], made: Any, *args: Any, **kwargs: Any) -> None:
            given = list(args)
            if len(given) > position:
                given[position] = prescription.numbers[keyword]
                original(made, *given, **kwargs)
            else:
                original(made, *given, **{**kwargs, keyword: prescription.numbers[keyword]})

        live.on_construction(getattr(torch.optim.lr_scheduler, kind), places.hold, build)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the number where it is written."""
        where = prescription.where
        keyword, position = NUMBERS[where["kind"]]
        value = prescription.numbers[keyword]
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for call in _calls(source, where):
                changes.set_number(call, keyword, value, position)
            return changes.edit()
        except CannotEditError as error:
            return Words(f"{where['kind']}(…, {keyword}={value:g})", str(error), where.get("file"), where.get("line"))


def _calls(source: Source, where: Mapping[str, Any]) -> list[cst.Call]:
    return [call for call in source.calls(where["kind"]) if source.name_line(call) == where["line"]]


def _value(kind: str, times: int, steps: int) -> float | int:
    """The number with which a scheduler that steps `times` times lasts for the run."""
    if kind == "ExponentialLR":
        return rounded(LEFT ** (1 / max(times, 2)), DIGITS)
    return max(1, (times if kind != "StepLR" else steps) // (3 if kind == "StepLR" else 1))
