"""When a finding first appears: the recorded run is cut off at ever later steps and examined as if it had come so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from _collection import Variant
from _verdicts import Verdict, of_report
from vivavoce.attach.examination import FIRST_EXAMINATION
from vivavoce.examine.reading import first_nonfinite
from vivavoce.examine.standing import Standing
from vivavoce.examine.verdict import examine
from vivavoce.record.entities import Entity, Event
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track
from vivavoce.report.build import build_report

E = TypeVar("E", bound=Entity)

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the steps of a run
LEADS = (200, 100, 50, 20, 10, 5, 3, 2, 1)  # steps before the first value that is not finite


@dataclass(frozen=True)
class Times:
    """Of one run: its steps; the first examined one at which an accepted cause was raised, and at which anything was (None: never).

    `broken` is the step of the first value that was not finite, `lead` by how many steps an accepted cause was raised before it:
    the longest of `LEADS`, 0 where it was not.
    """

    steps: int
    named: int | None
    alarmed: int | None
    broken: int | None
    lead: int | None


class Until:
    """The source of a run as it was at a step. What entities say of later steps cannot be taken back; they hold few such facts."""

    def __init__(self, run: Run, step: int) -> None:
        self.run, self.step = run, step

    def meta(self) -> dict[str, Any]:
        if self.step >= self.run.steps:
            return self.run.meta
        going_on = {key: value for key, value in self.run.meta.items() if key not in ("finished", "exit_code")}
        return going_on | {"steps": self.step}

    def entities(self, cls: type[E]) -> list[E]:
        return self.run._source.entities(cls)

    def tracks(self, name: str) -> list[Track]:
        cut = [_cut(track, self.step) for track in self.run.tracks(name)]
        return [track for track in cut if len(track)]

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.run.events(kind) if event.step <= self.step]

    def findings(self) -> list[dict[str, Any]]:
        return []


def times(variant: Variant, seed: int, run: Run) -> Times:
    """Examines a run at the shares of its steps, and before its first value that is not finite."""
    broken = first_nonfinite(run)
    named = alarmed = None
    steps = [round(share * run.steps) for share in SHARES]
    for step, verdict in _verdicts(
        variant, seed, run, [step for step in steps if step >= FIRST_EXAMINATION or step == run.steps]
    ):
        alarmed = step if alarmed is None and verdict.alarms else alarmed
        if verdict.named:
            named = step
            break
    lead = None
    if broken is not None and variant.fault:
        before = [broken - lead for lead in LEADS if broken > lead]
        lead = next((broken - at for at, verdict in _verdicts(variant, seed, run, before) if verdict.named), 0)
    return Times(run.steps, named, alarmed, broken, lead)


def _verdicts(variant: Variant, seed: int, run: Run, steps: Sequence[int]) -> Iterator[tuple[int, Verdict]]:
    standing = Standing()
    for step in dict.fromkeys(steps):
        cut = Run(Until(run, step))
        verdict = examine(cut)
        if step < run.steps:
            verdict = replace(verdict, findings=standing.of(verdict.findings, step))
        yield step, of_report(variant, seed, build_report(cut, verdict))


def _cut(track: Track, step: int) -> Track:
    rows = int(np.searchsorted(track.steps, step, side="right"))
    arrays = (track.steps, track.counts, track.mean, track.minimum, track.maximum, track.nonfinite)
    return Track(track.name, track.owner, track.columns, *(array[:rows] for array in arrays))
