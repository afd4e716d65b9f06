"""The file of a run, read. It is opened read-only, read in one go as it is at that instant, and closed."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from vivavoce.record.blocks import Bins, Block
from vivavoce.record.entities import Entity, Event
from vivavoce.record.errors import DamagedStoreError, MissingStoreError, NewerStoreError, NotAStoreError, StoreError
from vivavoce.record.run import Run
from vivavoce.record.snapshot import SignalRow, Snapshot
from vivavoce.record.tracks import Track
from vivavoce.record.writer import SCHEMA_VERSION

E = TypeVar("E", bound=Entity)
T = TypeVar("T")

BUSY_SECONDS = 5.0  # how long to wait for a program that has locked the whole file
_MAGIC = b"SQLite format 3\x00"


class StoreSource:
    """A store, read. The writer may be at work meanwhile; what it writes later is not seen.

    Raises StoreError (see `record.errors`) where the file is missing, something else, damaged or too new.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._snapshot = _read(self.path, _snapshot)

    def meta(self) -> dict[str, Any]:
        """Facts about the run, decoded."""
        with _plain_errors(self.path):
            return self._snapshot.meta()

    def entities(self, cls: type[E]) -> list[E]:
        """All entities of one kind."""
        with _plain_errors(self.path):
            return self._snapshot.entities(cls)

    def tracks(self, name: str) -> list[Track]:
        """All tracks of one signal, rows in the order they were recorded."""
        with _plain_errors(self.path):
            return self._snapshot.tracks(name)

    def events(self, kind: str) -> list[Event]:
        """All events of one kind, in order."""
        with _plain_errors(self.path):
            return self._snapshot.events(kind)

    def findings(self) -> list[dict[str, Any]]:
        """Live findings, each with "first_seen" and "last_seen"."""
        with _plain_errors(self.path):
            return self._snapshot.findings()


def open_run(path: Path | str) -> Run:
    """The run that a store holds, as it is now. Raises StoreError."""
    return Run(StoreSource(path))


def read_meta(path: Path | str) -> dict[str, Any]:
    """The facts about a run alone, which is much faster than opening it. Raises StoreError."""
    facts = _read(Path(path), _facts)
    with _plain_errors(Path(path)):
        return {key: json.loads(text) for key, text in facts.items()}


def _read(path: Path, load: Callable[[sqlite3.Connection], T]) -> T:
    _check_is_sqlite(path)
    with _plain_errors(path), _open(path) as connection:
        _check_is_store(path, connection)
        connection.execute("BEGIN")  # one snapshot for all that follows
        return load(connection)


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    except (sqlite3.DatabaseError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedStoreError(f"{path} is damaged and cannot be read ({error})") from None


def _check_is_sqlite(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise MissingStoreError(f"there is no run at {path}") from None
    except IsADirectoryError:
        raise NotAStoreError(f"{path} is not a Vivavoce run (it is a folder)") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
    if not magic:
        raise NotAStoreError(
            f"{path} is not a Vivavoce run (it is empty: its process ended before anything was recorded)"
        )
    if magic != _MAGIC:
        raise NotAStoreError(f"{path} is not a Vivavoce run (it is not an SQLite file)")


def _check_is_store(path: Path, connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"meta", "signal", "chunk"} <= tables:
        raise NotAStoreError(f"{path} is not a Vivavoce run (it has no Vivavoce tables)")
    if version > SCHEMA_VERSION:
        raise NewerStoreError(
            f"{path} was written by a newer Vivavoce (schema {version}, this one reads {SCHEMA_VERSION}): update vivavoce"
        )


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection, also in a folder where SQLite cannot make the files beside a write-ahead log."""
    try:
        connection = _connect(path, "mode=ro")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        with _open_aside(path) as connection:
            yield connection
        return
    with closing(connection):
        yield connection


@contextmanager
def _open_aside(path: Path) -> Iterator[sqlite3.Connection]:
    log = path.with_name(path.name + "-wal")
    if not log.exists() or not log.stat().st_size:
        with closing(_connect(path, "mode=ro&immutable=1")) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="viva-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, path.name)
        for file in (path, log):
            shutil.copyfile(file, copy.with_name(file.name))
        with closing(_connect(copy, "mode=rw")) as connection:
            yield connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _facts(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT key, value FROM meta"))


def _snapshot(connection: sqlite3.Connection) -> Snapshot:
    signals = [_signal(row) for row in connection.execute("SELECT id, name, owner_kind, owner_id, columns FROM signal")]
    columns = {signal.id: len(signal.columns) for signal in signals}
    blocks: dict[int, list[Block]] = {}
    for signal, *row in connection.execute(
        "SELECT signal, start, recorded, rows, steps, mean, counts, minimum, maximum, nonfinite FROM chunk ORDER BY signal, start"
    ):
        blocks.setdefault(signal, []).append(_block(columns[signal], *row))
    _check_gapless(blocks.values())
    return Snapshot(
        facts=_facts(connection),
        entity_rows={(kind, id): data for kind, id, data in connection.execute("SELECT kind, id, data FROM entity")},
        signals=signals,
        blocks=blocks,
        event_rows=connection.execute("SELECT step, time, kind, data FROM event ORDER BY id").fetchall(),
        finding_rows={slug: tuple(row) for slug, *row in connection.execute("SELECT * FROM finding")},
    )


def _check_gapless(signals: Iterable[list[Block]]) -> None:
    for blocks in signals:
        expected = 0
        for block in blocks:
            if block.start != expected:
                raise ValueError(f"rows are missing: {expected} to {block.start - 1}")
            expected += block.recorded


def _signal(row: tuple[int, str, str | None, int | None, str]) -> SignalRow:
    id, name, kind, owner, columns = row
    return SignalRow(id, name, None if kind is None or owner is None else (kind, owner), tuple(json.loads(columns)))


def _block(
    columns: int,
    start: int,
    recorded: int,
    rows: int,
    steps: bytes,
    mean: bytes,
    counts: bytes | None,
    minimum: bytes | None,
    maximum: bytes | None,
    nonfinite: bytes | None,
) -> Block:
    shape = (rows, columns)
    when, middle = _integers(steps).reshape(rows), _floats(mean).reshape(shape)
    if counts is None or minimum is None or maximum is None:
        return Block(start, when, middle)
    bad = None if nonfinite is None else _integers(nonfinite).reshape(shape)
    low, high = _floats(minimum).reshape(shape), _floats(maximum).reshape(shape)
    block = Block(start, when, middle, Bins(_integers(counts).reshape(rows), middle, low, high, bad))
    if block.recorded != recorded:
        raise ValueError(f"a chunk stands for {block.recorded} rows instead of {recorded}")
    return block


def _integers(blob: bytes) -> Any:
    return np.frombuffer(blob, dtype="<i8").astype(np.int64, copy=False)


def _floats(blob: bytes) -> Any:
    return np.frombuffer(blob, dtype="<f8").astype(np.float64, copy=False)
