"""The recorder's memory: everything recorded so far, within bounds, in the form in which it is stored."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np

from vivavoce.record.entities import Entity
from vivavoce.record.history import History
from vivavoce.record.snapshot import SignalRow, Snapshot
from vivavoce.record.tracks import Floats, Integers

# Events of one kind that are kept. They are rare by nature; a script that clears its gradients in ten thousand
# places, or a scaler that skips every step, must not fill the disk.
MAX_EVENTS_PER_KIND = 10_000


class SignalWriter:
    """Handle of one signal. `append` is the hot path: it puts a row on a queue and returns."""

    __slots__ = ("columns", "id", "name", "owner", "pending")

    def __init__(self, id: int, name: str, owner: tuple[str, int] | None, columns: tuple[str | int, ...]) -> None:
        self.id = id
        self.name = name
        self.owner = owner
        self.columns = columns
        self.pending: deque[tuple[Any, Any]] = deque()

    def append(self, step: int, row: Sequence[float] | Floats) -> None:
        """Record a row of `len(columns)` numbers at a step. The row must not be changed afterwards.

        A row that is a NumPy array is taken in at about a thirtieth of the cost of a list.
        """
        self.pending.append((step, row))

    def extend(self, steps: Integers, rows: Floats) -> None:
        """Record many rows at once: arrays of shapes (n,) and (n, len(columns)), not changed afterwards."""
        self.pending.append((steps, rows))


class Memory:
    """What was recorded. `drain` is called by one thread at a time, the other methods by any."""

    def __init__(self, meta: dict[str, Any], on_fault: Callable[[str, Exception], None]) -> None:
        self._on_fault = on_fault
        self._facts = dict(meta)
        self._queue: deque[Entity | tuple[int, float, str, dict[str, Any]]] = deque()
        self._kept_events: dict[str, int] = {}
        self.writers: list[SignalWriter] = []
        self.histories: list[History] = []
        self.entities: dict[tuple[str, int], str] = {}
        self.events: list[tuple[int, float, str, str]] = []
        self.findings: dict[str, tuple[int, int, str]] = {}

    def add_fact(self, values: dict[str, Any]) -> None:
        """Facts about the run."""
        self._facts.update(values)

    def add_entity(self, entity: Entity) -> None:
        """A new entity, or a newer form of one."""
        self._queue.append(entity)

    def add_event(self, step: int, time: float, kind: str, data: dict[str, Any]) -> None:
        """An event."""
        self._queue.append((step, time, kind, data))

    def add_signal(self, name: str, owner: tuple[str, int] | None, columns: tuple[str | int, ...]) -> SignalWriter:
        """A new signal."""
        writer = SignalWriter(len(self.writers) + 1, name, owner, columns)
        self.histories.append(History(len(columns)))
        self.writers.append(writer)
        return writer

    def add_findings(self, findings: Iterable[dict[str, Any]], step: int) -> None:
        """The findings of an examination at a step; of several with one slug the first counts."""
        named: set[str] = set()
        self.findings = self.findings.copy()
        for finding in findings:
            slug = finding["slug"]
            if slug not in named:
                named.add(slug)
                first = self.findings[slug][0] if slug in self.findings else step
                self.findings[slug] = (first, step, encode(finding))

    @property
    def empty(self) -> bool:
        """True until an entity, an event or a row has been drained."""
        return not (self.entities or self.events or any(history.rows for history in self.histories))

    def facts(self) -> dict[str, str]:
        """Facts about the run, as JSON."""
        texts = {key: self._guard(f"fact {key}", encode, value) for key, value in self._facts.copy().items()}
        return {key: text for key, text in texts.items() if text is not None}

    def snapshot(self) -> Snapshot:
        """A copy that later recording does not change."""
        writers = self.writers[: len(self.histories)]
        return Snapshot(
            facts=self.facts(),
            entity_rows=self.entities,
            signals=[SignalRow(writer.id, writer.name, writer.owner, writer.columns) for writer in writers],
            blocks={writer.id: self.histories[writer.id - 1].blocks() for writer in writers},
            event_rows=self.events,
            finding_rows=self.findings,
        )

    def drain(self) -> None:
        """Take in what is on the queues. Malformed data are reported through `on_fault` and left out."""
        if self._queue:
            self.entities, self.events = self.entities.copy(), self.events.copy()  # snapshots hold the old ones
        for _ in range(len(self._queue)):
            self._guard("entity or event", self._take, self._queue.popleft())
        for writer in list(self.writers):
            for steps, values in self._rows(writer):
                self._guard(f"signal {writer.name}", self.histories[writer.id - 1].add, steps, values)

    def _take(self, item: Entity | tuple[int, float, str, dict[str, Any]]) -> None:
        if isinstance(item, Entity):
            self.entities[item.kind, item.id] = encode(item.to_json())
            return
        step, time, kind, data = item
        kept = self._kept_events.get(kind, 0)
        if kept < MAX_EVENTS_PER_KIND:
            self._kept_events[kind] = kept + 1
            self.events.append((int(step), float(time), kind, encode(data)))

    def _rows(self, writer: SignalWriter) -> list[tuple[Integers, Floats]]:
        pending = writer.pending
        items = [pending.popleft() for _ in range(len(pending))]
        parts: list[tuple[Integers, Floats] | None] = []
        for many, group in groupby(items, key=lambda item: isinstance(item[0], np.ndarray)):
            convert = _convert_arrays if many else _convert_rows
            batch = list(group)
            try:
                parts.append(convert(batch, len(writer.columns)))
            except Exception:  # one by one, so that only the malformed ones are lost
                parts += [self._guard(f"signal {writer.name}", convert, [item], len(writer.columns)) for item in batch]
        return [part for part in parts if part is not None]

    def _guard(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except Exception as error:
            self._on_fault(what, error)
            return None


def _convert_rows(items: list[tuple[int, Sequence[float]]], columns: int) -> tuple[Integers, Floats]:
    steps = np.fromiter((step for step, _ in items), dtype=np.int64, count=len(items))
    rows = [row for _, row in items]
    wrong = next((len(row) for row in rows if len(row) != columns), None)
    if wrong is not None:
        raise ValueError(f"a row of {wrong} numbers was given to a signal of {columns} columns")
    if all(isinstance(row, np.ndarray) for row in rows):
        return steps, np.concatenate(rows, dtype=np.float64).reshape(len(rows), columns)
    values = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=len(rows) * columns)
    return steps, values.reshape(len(rows), columns)


def _convert_arrays(items: list[tuple[Integers, Floats]], columns: int) -> tuple[Integers, Floats]:
    for steps, rows in items:
        if rows.shape != (len(steps), columns):
            raise ValueError(f"rows of shape {rows.shape} were given for {len(steps)} steps of {columns} columns")
    steps = np.concatenate([steps for steps, _ in items], dtype=np.int64)
    return steps, np.concatenate([rows for _, rows in items], dtype=np.float64)


def encode(value: Any) -> str:
    """`value` as JSON (NaN and infinities as Python's `json` has them); what JSON has no form for becomes text."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
