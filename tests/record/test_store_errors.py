"""What the reader says about files that are no runs, and how it opens awkward ones."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from vivavoce.record import store
from vivavoce.record.errors import DamagedStoreError, MissingStoreError, NewerStoreError, NotAStoreError, StoreError
from vivavoce.record.recorder import Recorder
from vivavoce.record.store import open_run, read_meta


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A closed store with a few thousand rows."""
    recorder = Recorder(tmp_path / "run.db", flush_seconds=1000)
    writer = recorder.signal("gradient_norm", ("optimizer", 0), list(range(20)))
    writer.extend(np.arange(3000), np.random.default_rng(0).standard_normal((3000, 20)))
    recorder.close()
    return tmp_path / "run.db"


def interrupted(tmp_path: Path) -> Path:
    """A store as a killed process leaves it: the rows stand in the write-ahead log."""
    recorder = Recorder(tmp_path / "live.db", flush_seconds=1000)
    recorder.signal("train/loss", ("loss", 0), ["loss"]).append(0, [0.25])
    recorder.flush()
    (tmp_path / "killed").mkdir()
    for name in ("live.db", "live.db-wal"):
        shutil.copyfile(tmp_path / name, tmp_path / "killed" / name)
    recorder.close()
    return tmp_path / "killed" / "live.db"


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingStoreError, match=r"^there is no run at .*gone\.db$"):
        open_run(tmp_path / "gone.db")
    assert list(tmp_path.iterdir()) == []


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match=r"is not a Vivavoce run \(it is a folder\)$"):
        open_run(tmp_path)


@pytest.mark.parametrize("content", [b"import torch\n", b"\x00", b"SQLite", os.urandom(5000)])
def test_not_sqlite(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.py").write_bytes(content)
    with pytest.raises(NotAStoreError, match=r"train\.py is not a Vivavoce run \(it is not an SQLite file\)$"):
        open_run(tmp_path / "train.py")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "run.db").touch()
    with pytest.raises(NotAStoreError, match="it is empty"):
        open_run(tmp_path / "run.db")


def test_someone_elses_sqlite(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "bookmarks.db")
    connection.execute("CREATE TABLE meta (key, value)")
    connection.close()
    with pytest.raises(NotAStoreError, match=r"\(it has no Vivavoce tables\)$"):
        open_run(tmp_path / "bookmarks.db")


def test_newer_schema(finished: Path) -> None:
    connection = sqlite3.connect(finished)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(NewerStoreError, match=r"newer Vivavoce \(schema 2, this one reads 1\): update vivavoce$"):
        open_run(finished)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.95])
def test_truncated(finished: Path, keep: float) -> None:
    content = finished.read_bytes()
    finished.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DamagedStoreError, match=r"run\.db is damaged and cannot be read \("):
        open_run(finished).tracks("gradient_norm")


@pytest.mark.parametrize("seed", range(30))
def test_overwritten_in_the_middle(finished: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(finished.read_bytes())
    for _ in range(20):
        first = int(rng.integers(100, len(content) - 500))
        content[first : first + 400] = rng.bytes(400)
    finished.write_bytes(content)
    told = ""
    try:  # damage within the numbers cannot be noticed; any other must be told as ours
        run = open_run(finished)
        run.tracks("gradient_norm")
        assert isinstance(run.meta, dict)
    except StoreError as error:
        told = str(error)
    assert told == "" or "run.db" in told


def test_a_chunk_that_lost_rows(finished: Path) -> None:
    connection = sqlite3.connect(finished)
    with connection:
        connection.execute("UPDATE chunk SET mean = substr(mean, 1, 160) WHERE id = (SELECT min(id) FROM chunk)")
    connection.close()
    with pytest.raises(DamagedStoreError, match="is damaged"):
        open_run(finished)


def test_a_missing_chunk(finished: Path) -> None:
    connection = sqlite3.connect(finished)
    with connection:
        connection.execute("DELETE FROM chunk WHERE start = (SELECT max(start) FROM chunk WHERE start < 2000)")
    connection.close()
    with pytest.raises(DamagedStoreError, match="rows are missing"):
        open_run(finished)


def test_locked_by_another_program(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.01)
    connection = sqlite3.connect(finished, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"run\.db cannot be read: database is locked$"):
        open_run(finished)
    connection.close()


def test_killed_run_is_read_with_its_log(tmp_path: Path) -> None:
    assert open_run(interrupted(tmp_path)).series("train/loss").mean.tolist() == [0.25]


def test_killed_run_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = interrupted(tmp_path)
    before = sorted(file.name for file in path.parent.iterdir())
    refuse_beside(path, monkeypatch)
    assert open_run(path).series("train/loss").mean.tolist() == [0.25]
    assert sorted(file.name for file in path.parent.iterdir()) == before


def test_finished_run_in_a_folder_that_cannot_be_written(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_beside(finished, monkeypatch)
    assert open_run(finished).tracks("gradient_norm")[0].counts.sum() == 3000
    assert [file.name for file in finished.parent.iterdir()] == ["run.db"]


def refuse_beside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLite does where it may not make files beside the store: permissions do not bind a root user."""
    connect = store._connect

    def refuse(file: Path, options: str) -> sqlite3.Connection:
        if file == path and options == "mode=ro":
            raise sqlite3.OperationalError("unable to open database file")
        return connect(file, options)

    monkeypatch.setattr(store, "_connect", refuse)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_killed_run_in_a_read_only_folder(tmp_path: Path) -> None:
    path = interrupted(tmp_path)
    path.parent.chmod(0o500)
    try:
        assert open_run(path).series("train/loss").mean.tolist() == [0.25]
    finally:
        path.parent.chmod(0o700)


def test_odd_file_names(tmp_path: Path) -> None:
    path = tmp_path / "100% läuft? #1 & mehr.db"
    recorder = Recorder(path, {"steps": 3}, flush_seconds=1000)
    recorder.event(0, "stopped", slug="x")
    recorder.close()
    assert read_meta(path)["steps"] == 3
    assert open_run(str(path)).steps == 3


def test_reading_leaves_the_file_alone(finished: Path) -> None:
    before = (finished.read_bytes(), finished.stat().st_mtime_ns)
    open_run(finished).tracks("gradient_norm")
    assert (finished.read_bytes(), finished.stat().st_mtime_ns) == before
