"""The writing side of the store: signals go into memory at once, a background thread writes them to the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from vivavoce.record.entities import Entity


class SignalWriter:
    """Handle of one signal. `append` is the hot path: it puts a row on a queue and returns."""

    __slots__ = ("columns", "id", "name", "owner", "pending")

    def __init__(self, id: int, name: str, owner: tuple[str, int] | None, columns: tuple[str | int, ...]) -> None:
        self.id = id
        self.name = name
        self.owner = owner
        self.columns = columns
        self.pending: deque[tuple[int, Sequence[float]]] = deque()

    def append(self, step: int, row: Sequence[float]) -> None:
        """Record a row of `len(columns)` numbers at a step."""
        self.pending.append((step, row))


class Recorder:
    """INTERFACE, to be implemented by the record phase.

    Recorder(path, meta) opens no file until the first entity or row arrives (`viva run` of a script without any
    training leaves no file). Failures (disk full, read-only folder) warn once on standard error; recording then goes
    on in memory only, so that the verdict at the end still appears.
    """

    def signal(self, name: str, owner: tuple[str, int] | None, columns: Sequence[str | int]) -> SignalWriter:
        """The writer of a signal, made on first use for this (name, owner, columns)."""
        raise NotImplementedError

    def entity(self, entity: Entity) -> None:
        """Record or replace an entity."""
        raise NotImplementedError

    def event(self, step: int, kind: str, **data: Any) -> None:
        """Record an event."""
        raise NotImplementedError

    def meta(self, **values: Any) -> None:
        """Record facts about the run."""
        raise NotImplementedError
