"""The file of a run, written. Whatever differs between the memory and the file goes over in one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from vivavoce.record.blocks import Block
from vivavoce.record.memory import encode
from vivavoce.record.snapshot import Snapshot

SCHEMA_VERSION = 1
APPLICATION_ID = 0x56495641  # "VIVA": at a fixed place in the header of an SQLite file
BUSY_SECONDS = 2.0  # how long to wait for a lock that another program holds on the file
WAL_BYTES_KEPT = 4 * 2**20  # the write-ahead log is cut back to this size when it was longer

_INSERT_CHUNK = "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class FileGoneError(OSError):
    """The file was deleted while the run went on."""


class StoreWriter:
    """Writes snapshots of one run into a new file. Raises OSError or sqlite3.Error; a failed `write` may be repeated."""

    def __init__(self, path: Path) -> None:
        """Create the file. An empty one, made to reserve the name, is taken; any other raises FileExistsError."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _claim(path)
        try:
            self._connection = _connect(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._facts: Mapping[str, str] = {}
        self._entities: Mapping[tuple[str, int], str] = {}
        self._signals = 0
        self._chunks: dict[int, set[int]] = {}  # signal → ids of its stored blocks
        self._events = 0
        self._findings: Mapping[str, tuple[int, int, str]] = {}

    def write(self, snapshot: Snapshot) -> None:
        """Bring the file up to date, in one transaction."""
        if not self.path.exists():  # SQLite would go on writing into the nameless file
            raise FileGoneError(f"{self.path} was deleted")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._write_changes(snapshot)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._remember(snapshot)

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it. The journal files vanish unless a reader is at work."""
        try:
            self._connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:  # a reader is at work: the log stays beside the file, or goes when the reader does
            pass
        finally:
            self._connection.close()

    def abandon(self) -> None:
        """Forget the connection without closing it: in a forked child it belongs to the parent."""
        _leak(self._connection)

    def _write_changes(self, snapshot: Snapshot) -> None:
        many = self._connection.executemany
        many("INSERT OR REPLACE INTO meta VALUES (?, ?)", _changed(snapshot.facts, self._facts))
        entities = [(*key, text) for key, text in _changed(snapshot.entity_rows, self._entities)]
        many("INSERT OR REPLACE INTO entity VALUES (?, ?, ?)", entities)
        signals = [(row.id, row.name, *(row.owner or (None, None)), encode(row.columns)) for row in snapshot.signals]
        many("INSERT INTO signal VALUES (?, ?, ?, ?, ?)", signals[self._signals :])
        for signal, blocks in snapshot.blocks.items():
            stored = self._chunks.get(signal, set())
            gone = stored - {block.id for block in blocks}
            many("DELETE FROM chunk WHERE id = ?", [(id,) for id in gone])
            many(_INSERT_CHUNK, (_chunk(signal, block) for block in blocks if block.id not in stored))
        events = snapshot.event_rows[self._events :]
        many("INSERT INTO event (step, time, kind, data) VALUES (?, ?, ?, ?)", events)
        findings = [(slug, *row) for slug, row in _changed(snapshot.finding_rows, self._findings)]
        many("INSERT OR REPLACE INTO finding VALUES (?, ?, ?, ?)", findings)

    def _remember(self, snapshot: Snapshot) -> None:
        self._facts = snapshot.facts
        self._entities = snapshot.entity_rows
        self._signals = len(snapshot.signals)
        self._chunks = {signal: {block.id for block in blocks} for signal, blocks in snapshot.blocks.items()}
        self._events = len(snapshot.event_rows)
        self._findings = snapshot.finding_rows


def _changed(now: Mapping[Any, Any], before: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    if now is before:
        return []
    return [(key, value) for key, value in now.items() if before.get(key) != value]


def _chunk(signal: int, block: Block) -> tuple[Any, ...]:
    steps, bins = block.steps, block.bins
    place = (block.id, signal, block.start, block.recorded, len(block), block.width, int(steps[0]), int(steps[-1]))
    if bins is None:
        return (*place, _blob(steps, "<i8"), _blob(block.mean, "<f8"), None, None, None, None)
    return (
        *place,
        _blob(steps, "<i8"),
        _blob(bins.mean, "<f8"),
        _blob(bins.counts, "<i8"),
        _blob(bins.minimum, "<f8"),
        _blob(bins.maximum, "<f8"),
        None if bins.nonfinite is None else _blob(bins.nonfinite, "<i8"),
    )


def _blob(array: Any, dtype: str) -> memoryview:
    return memoryview(array.astype(dtype, order="C", copy=False)).cast("B")


def _claim(path: Path) -> None:
    """Create the file, or take an empty one."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        if path.stat().st_size:
            raise


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()  # where it cannot be had, the default serves
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        header = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        schema = files("vivavoce.record").joinpath("schema.sql").read_text(encoding="utf-8")
        connection.executescript(f"BEGIN IMMEDIATE; {header} {schema} COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


def _leak(thing: object) -> None:
    """Keep an object from ever being finalised in this process."""
    try:
        import ctypes

        keep: Callable[[Any], None] = ctypes.pythonapi.Py_IncRef
        keep(ctypes.py_object(thing))
    except (ImportError, AttributeError):  # no ctypes in this Python: a global lives as long as the interpreter
        _leaked.append(thing)


_leaked: list[object] = []
