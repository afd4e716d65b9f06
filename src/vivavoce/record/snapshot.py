"""The data of a run at one instant, in the form of the store's rows; what a live run and a file have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vivavoce.record.blocks import Block, join, nonfinite_or_zeros
from vivavoce.record.entities import Entity, Event
from vivavoce.record.tracks import Track

E = TypeVar("E", bound=Entity)


@dataclass(frozen=True)
class SignalRow:
    """What a signal is: a row of the table `signal`."""

    id: int
    name: str
    owner: tuple[str, int] | None
    columns: tuple[str | int, ...]


@dataclass(frozen=True)
class Snapshot:
    """A `Source`. Texts are JSON, decoded when asked for."""

    facts: Mapping[str, str]  # key → JSON
    entity_rows: Mapping[tuple[str, int], str]  # (kind, id) → JSON
    signals: Sequence[SignalRow]
    blocks: Mapping[int, Sequence[Block]]  # signal id → its blocks, in order
    event_rows: Sequence[tuple[int, float, str, str]]  # step, time, kind, JSON
    finding_rows: Mapping[str, tuple[int, int, str]]  # slug → first seen, last seen, JSON

    def meta(self) -> dict[str, Any]:
        """Facts about the run."""
        return {key: json.loads(text) for key, text in self.facts.items()}

    def entities(self, cls: type[E]) -> list[E]:
        """All entities of one kind."""
        return [
            cls.from_json(id, json.loads(text)) for (kind, id), text in self.entity_rows.items() if kind == cls.kind
        ]

    def tracks(self, name: str) -> list[Track]:
        """All tracks of one signal that have rows."""
        return [
            _track(row, self.blocks[row.id]) for row in self.signals if row.name == name and self.blocks.get(row.id)
        ]

    def events(self, kind: str) -> list[Event]:
        """All events of one kind, in order."""
        return [Event(step, time, kind, json.loads(text)) for step, time, k, text in self.event_rows if k == kind]

    def findings(self) -> list[dict[str, Any]]:
        """Live findings, in the order of their first step."""
        rows = sorted(self.finding_rows.items(), key=lambda row: (row[1][0], row[0]))
        return [{**json.loads(text), "first_seen": first, "last_seen": last} for _, (first, last, text) in rows]


def _track(row: SignalRow, blocks: Sequence[Block]) -> Track:
    block = join(blocks)
    bins = block.as_bins()
    arrays = (bins.counts, bins.mean, bins.minimum, bins.maximum, nonfinite_or_zeros(bins))
    return Track(row.name, row.owner, row.columns, block.steps, *arrays)
