"""zero-grad: clear the gradients, so that each step follows its own batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy import by_hand, live, steps
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.optimizers import optimizer_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import rewrite, source_of
from vivavoce.remedy.source import Source


class ZeroGrad(Remedy):
    """`zero_grad()` right before the first `backward()` that leads to the step."""

    name = "zero-grad"
    treats = ("gradients-not-zeroed",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """The optimizers whose gradients pile up; all of them at once where there are several."""
        found = by_hand.place_of_update(run) if by_hand.optimizer_by_hand(run) is not None else None
        if found is not None:
            where = {"file": str(found[0].path), "line": found[0].line(found[1]), "by_hand": True}
            yield Prescription(self.name, finding.slug, "forget each gradient behind its use", {}, where)
            return
        optimizers = [o for o in run.optimizers.values() if o.step_site is not None and _piles_up(run, o)]
        main = optimizer_of(run, finding)
        first = [o for o in optimizers if main is not None and o.id == main.id] or optimizers[:1]
        rest = [o for o in optimizers if o not in first]
        for chosen in [first + rest] if rest else [first]:
            if chosen and chosen[0].step_site is not None:
                places = [place(o.step_site, made=place(o.site)) for o in chosen]
                title = "clear the gradients before each backward pass"
                yield Prescription(self.name, finding.slug, title, {}, {**places[0], "also": places[1:]})

    def apply(self, prescription: Prescription) -> None:
        """Clear them at the same places."""
        if prescription.where.get("by_hand"):
            rewrite(self, prescription)
            return
        for where in [prescription.where, *prescription.where.get("also", ())]:
            self._apply(where)

    def _apply(self, where: Mapping[str, Any]) -> None:
        source = source_of(where)
        try:
            step = steps.step_call(source, where["line"])
        except CannotEditError as error:
            raise RemedyError(str(error)) from None
        backward = steps.first_backward(source, step)
        held = steps.Stepped(where)
        if backward is None:
            live.after_step(lambda optimizer: optimizer.zero_grad() if optimizer in held else None)
            return
        places = live.Places(where["file"], [source.end_place(backward)])

        def clear(loss: Any, frame: FrameType | None) -> Any:
            if places.hold(frame):
                held.clear(frame, steps.optimizer_expression(source, step))
            return loss

        live.on_backward(clear)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """One line before `backward()`, or behind the step where it stands elsewhere."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            if where.get("by_hand"):
                by_hand.clear(changes)
                return changes.edit()
            for each in [where, *where.get("also", ())]:
                _write(changes, source, each)
            return changes.edit()
        except CannotEditError as error:
            return Words("optimizer.zero_grad() before backward()", str(error), where.get("file"), where.get("line"))


def _write(changes: Changes, source: Source, where: Mapping[str, Any]) -> None:
    step = steps.step_call(source, where["line"])
    line = f"{steps.optimizer_expression(source, step)}.zero_grad()"
    backward = steps.first_backward(source, step)
    statement = source.statement(step if backward is None else backward)
    if not isinstance(statement, cst.BaseSmallStatement):
        raise CannotEditError("the step is part of a larger statement")
    if backward is None:
        changes.after(statement, [line])
    else:
        changes.before(statement, [line])


def _piles_up(run: Run, optimizer: Optimizer) -> bool:
    tracks = [t for t in run.tracks("step") if t.owner == ("optimizer", optimizer.id) and len(t)]
    stale = [float(track.column("stale").mean.mean()) for track in tracks if "stale" in track.columns]
    return bool(stale) and max(stale) > 0.5
