"""Runs built from plain data, for tests of whatever reads a `Run`: detectors, reports, integrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.record.entities import Entity, Event
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

E = TypeVar("E", bound=Entity)

Owner = tuple[str, int] | None
SignalKey = tuple[str, Owner]  # ("gradient_norm", ("optimizer", 0))
SignalData = tuple[Sequence[str | int], ArrayLike, ArrayLike]  # columns (k), steps (n,), values (n, k) or (n,)


class MemorySource:
    """A `Source` that holds its data in lists. `make_run` is the short way to one."""

    def __init__(
        self,
        meta: Mapping[str, Any],
        entities: Iterable[Entity],
        tracks: Iterable[Track],
        events: Iterable[Event],
        findings: Iterable[dict[str, Any]],
    ) -> None:
        self._meta = dict(meta)
        self._entities = list(entities)
        self._tracks = list(tracks)
        self._events = list(events)
        self._findings = list(findings)

    def meta(self) -> dict[str, Any]:
        """The facts given."""
        return dict(self._meta)

    def entities(self, cls: type[E]) -> list[E]:
        """The entities of one kind."""
        return [entity for entity in self._entities if isinstance(entity, cls)]

    def tracks(self, name: str) -> list[Track]:
        """The tracks of one signal."""
        return [track for track in self._tracks if track.name == name]

    def events(self, kind: str) -> list[Event]:
        """The events of one kind, in the order given."""
        return [event for event in self._events if event.kind == kind]

    def findings(self) -> list[dict[str, Any]]:
        """The live findings given."""
        return list(self._findings)


def make_track(name: str, owner: Owner, columns: Sequence[str | int], steps: ArrayLike, values: ArrayLike) -> Track:
    """A track of unreduced rows.

    `steps` has shape (n,), `values` (n, k) for k columns; for one column (n,) will do. NaN and infinities are counted
    as the recorder counts them. Raises ValueError where the shapes do not fit.
    """
    when = np.asarray(steps, dtype=np.int64)
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim == 1 and len(columns) == 1:
        rows = rows[:, None]
    if rows.shape != (len(when), len(columns)):
        expected = (len(when), len(columns))
        raise ValueError(f"values of {name} have shape {rows.shape}; {expected} was expected for its steps and columns")
    nonfinite = (~np.isfinite(rows)).astype(np.int64)
    return Track(name, owner, tuple(columns), when, np.ones(len(when), np.int64), rows, rows, rows, nonfinite)


def make_run(
    *,
    meta: Mapping[str, Any] | None = None,
    entities: Iterable[Entity] = (),
    signals: Mapping[SignalKey, SignalData] | None = None,
    tracks: Iterable[Track] = (),
    events: Iterable[Event] = (),
    findings: Iterable[dict[str, Any]] = (),
) -> Run:
    """A `Run` made of plain data.

    `signals` maps (name, owner) to (columns, steps, values) of unreduced rows; ready-made `tracks`, reduced ones for
    instance, may be added. Where `meta` names no "steps", it is one more than the last step of any signal.

    >>> run = make_run(signals={("train/loss", ("loss", 0)): (["loss"], [0, 1], [2.5, 2.25])})
    >>> run.series("train/loss").mean.tolist(), run.steps
    ([2.5, 2.25], 2)
    """
    made = [make_track(name, owner, *data) for (name, owner), data in (signals or {}).items()]
    every = [*made, *tracks]
    last = max((int(track.steps[-1]) for track in every if len(track)), default=-1)
    return Run(MemorySource({"steps": last + 1, **(meta or {})}, entities, every, events, findings))
