"""`Run`: what detectors and reports read. The same class serves a run that goes on and one that was recorded."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from vivavoce.record.entities import Clip, Entity, Event, Loader, Loss, Model, Module, Node, Optimizer, Parameter, Rule
from vivavoce.record.tracks import EMPTY, Series, Track

E = TypeVar("E", bound=Entity)


class Source(Protocol):
    """Where a run's data come from: a store file opened read-only, or the recorder's memory."""

    def meta(self) -> dict[str, Any]:
        """Facts about the run, decoded."""

    def entities(self, cls: type[E]) -> list[E]:
        """All entities of one kind."""

    def tracks(self, name: str) -> list[Track]:
        """All tracks of one signal, rows in the order they were recorded."""

    def events(self, kind: str) -> list[Event]:
        """All events of one kind, in order."""

    def findings(self) -> list[dict[str, Any]]:
        """Live findings, each with "first_seen" and "last_seen"."""


class Run:
    """A read-only view of one run. Everything is loaded on first use and kept; a `Run` is a snapshot."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tracks: dict[str, list[Track]] = {}
        self._owned: dict[str, dict[tuple[str, int] | None, list[Track]]] = {}
        self._events: dict[str, list[Event]] = {}

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Facts about the run; the keys are listed in schema.sql."""
        return self._source.meta()

    @cached_property
    def models(self) -> dict[int, Model]:
        """Root models by id."""
        return self._by_id(Model)

    @cached_property
    def modules(self) -> dict[int, Module]:
        """Modules and functional activations by id."""
        return self._by_id(Module)

    @cached_property
    def parameters(self) -> dict[int, Parameter]:
        """Parameters by id."""
        return self._by_id(Parameter)

    @cached_property
    def optimizers(self) -> dict[int, Optimizer]:
        """Optimizers by id, in the order they were made."""
        return self._by_id(Optimizer)

    @cached_property
    def loaders(self) -> dict[int, Loader]:
        """Data loaders by id."""
        return self._by_id(Loader)

    @cached_property
    def losses(self) -> dict[int, Loss]:
        """Loss functions' call sites and backward sites by id."""
        return self._by_id(Loss)

    @cached_property
    def clips(self) -> dict[int, Clip]:
        """Gradient clipping sites by id."""
        return self._by_id(Clip)

    @cached_property
    def nodes(self) -> dict[int, Node]:
        """Operations of the loss's graph by id."""
        return self._by_id(Node)

    @cached_property
    def rules(self) -> dict[int, Rule]:
        """The user's rules by id, one for each loss they were held against."""
        return self._by_id(Rule)

    def _by_id(self, cls: type[E]) -> dict[int, E]:
        return {entity.id: entity for entity in sorted(self._source.entities(cls), key=lambda e: e.id)}

    def tracks(self, name: str) -> list[Track]:
        """All tracks of a signal, one an owner (more where the set of columns changed during the run)."""
        if name not in self._tracks:
            self._tracks[name] = self._source.tracks(name)
        return self._tracks[name]

    def tracks_of(self, name: str, owner: tuple[str, int]) -> list[Track]:
        """The tracks of a signal that one owner has."""
        if name not in self._owned:
            owned: dict[tuple[str, int] | None, list[Track]] = {}
            for track in self.tracks(name):
                owned.setdefault(track.owner, []).append(track)
            self._owned[name] = owned
        return self._owned[name].get(owner, [])

    def series(self, name: str, owner: tuple[str, int] | None = None, column: str | int | None = None) -> Series:
        """One column of a signal, joined over its tracks in the order of steps; empty where it was never recorded.

        `owner` None takes every owner; `column` None takes the first column.
        """
        parts = []
        for track in self.tracks(name) if owner is None else self.tracks_of(name, owner):
            label = track.columns[0] if column is None else column
            if label in track.columns:
                parts.append(track.column(label))
        return _join(parts)

    def events(self, kind: str) -> list[Event]:
        """Events of one kind in the order they happened."""
        if kind not in self._events:
            self._events[kind] = self._source.events(kind)
        return self._events[kind]

    @cached_property
    def live_findings(self) -> list[dict[str, Any]]:
        """Findings as the examination during the run reported them, with "first_seen" and "last_seen" steps."""
        return self._source.findings()

    @property
    def steps(self) -> int:
        """Number of training steps so far (see `docs/phases.md` for what counts as a step)."""
        return int(self.meta.get("steps", 0))

    @cached_property
    def main_loss(self) -> Loss | None:
        """The backward site with the most recorded losses; None where nothing was trained."""
        rows = {track.owner: int(track.counts.sum()) for track in self.tracks("train/loss") if track.owner}
        if not rows:
            return None
        owner = max(rows, key=lambda key: (rows[key], -key[1]))
        return self.losses.get(owner[1])

    @cached_property
    def train_loss(self) -> Series:
        """The raw loss at the main backward site, one row a backward call."""
        return self.series("train/loss", ("loss", self.main_loss.id)) if self.main_loss else EMPTY


def _join(parts: list[Series]) -> Series:
    if not parts:
        return EMPTY
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([part.steps for part in parts]), kind="stable")
    names = ("steps", "counts", "mean", "minimum", "maximum", "nonfinite")
    return Series(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in names))
