"""Files that fail while they are written: one warning, recording goes on in memory, the training hears nothing."""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vivavoce.record import recorder as recorder_module
from vivavoce.record import writer as writer_module
from vivavoce.record.recorder import Recorder
from vivavoce.record.store import open_run


class Trial:
    """A recorder whose warnings are kept, and a training of a few thousand steps."""

    def __init__(self, path: Path | Callable[[], Path]) -> None:
        self.warnings: list[str] = []
        self.recorder = Recorder(path, warn=self.warnings.append, flush_seconds=1000)
        self.steps = 0

    def train(self, steps: int = 2000) -> None:
        writer = self.recorder.signal("gradient_norm", ("optimizer", 0), list(range(10)))
        for _ in range(steps):
            writer.append(self.steps, [float(self.steps)] * 10)
            self.steps += 1
        self.recorder.flush()

    def check_memory(self) -> None:
        (track,) = self.recorder.source().tracks("gradient_norm")
        assert track.counts.sum() == self.steps
        assert track.maximum.max() == self.steps - 1

    def check_file(self) -> None:
        assert self.recorder.path is not None
        (track,) = open_run(self.recorder.path).tracks("gradient_norm")
        assert track.counts.sum() == self.steps


def test_read_only_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trial = Trial(tmp_path / "file" / "run.db")  # no user can make a file below a file
    trial.train()
    trial.train()
    trial.check_memory()
    trial.recorder.close()
    assert len(trial.warnings) == 1
    assert "recording goes on in memory only" in trial.warnings[0]
    assert trial.recorder.path is None
    assert trial.recorder.failure is not None


def test_the_choice_of_a_path_fails() -> None:
    def refuse() -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", "/read/only")

    trial = Trial(refuse)
    trial.train()
    trial.recorder.close()
    trial.check_memory()
    assert trial.warnings == [
        "cannot record this run in a file (Permission denied: /read/only); recording goes on in memory only"
    ]


def test_full_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_pages(monkeypatch, 3)
    trial = Trial(tmp_path / "run.db")
    trial.train()
    trial.recorder.close()
    trial.check_memory()
    assert len(trial.warnings) == 1
    assert "full" in trial.warnings[0]
    assert list(tmp_path.iterdir()) == []


def test_full_later_and_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_pages(monkeypatch, 40)
    trial = Trial(tmp_path / "run.db")
    trial.train(10)
    trial.check_file()
    trial.train()
    trial.train()
    trial.check_memory()
    assert trial.warnings == [
        f"cannot write {tmp_path / 'run.db'} (database or disk is full); recording goes on in memory, and writing is tried again"
    ]
    assert not trial.recorder.complete
    assert open_run(tmp_path / "run.db").tracks("gradient_norm")[0].counts.sum() == 10
    assert trial.recorder._writer is not None
    trial.recorder._writer._connection.execute("PRAGMA max_page_count = 100000")
    trial.train(1)
    assert trial.recorder.complete
    trial.check_file()
    trial.recorder.close()
    assert len(trial.warnings) == 1


def limit_pages(monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    """Let SQLite find the disk full when a file reaches so many pages."""
    connect = sqlite3.connect

    def limited(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(writer_module.sqlite3, "connect", limited)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a MiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    try:
        mounted = sys.platform == "linux" and subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write into a file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            full = error.errno
    assert full == errno.ENOSPC


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    trial = Trial(small_disk / "run.db")
    trial.train(10)
    ballast = small_disk / "ballast"
    fill(ballast)
    for _ in range(3):
        trial.train(300)
    trial.check_memory()
    assert len(trial.warnings) == 1
    ballast.unlink()
    trial.recorder.close()
    assert len(trial.warnings) == 1
    assert open_run(small_disk / "run.db").tracks("gradient_norm")[0].counts.sum() == trial.steps


def test_file_deleted_meanwhile(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "run.db")
    trial.train()
    for path in tmp_path.iterdir():
        path.unlink()
    trial.train()
    trial.train()
    trial.check_memory()
    trial.recorder.close()
    assert len(trial.warnings) == 1
    assert "was deleted" in trial.warnings[0]
    assert list(tmp_path.iterdir()) == []


def test_locked_by_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "BUSY_SECONDS", 0.01)
    trial = Trial(tmp_path / "run.db")
    trial.train()
    other = sqlite3.connect(tmp_path / "run.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    trial.train()
    trial.train()
    trial.check_memory()
    assert len(trial.warnings) == 1
    assert "database is locked" in trial.warnings[0]
    other.execute("ROLLBACK")
    other.close()
    trial.recorder.close()
    trial.check_file()
    assert len(trial.warnings) == 1


def test_retries_become_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(tmp_path / "run.db")
    trial.train(1)
    now = [1000.0]
    monkeypatch.setattr(recorder_module.time, "monotonic", lambda: now[0])
    tried: list[float] = []

    def fail(snapshot: Any) -> None:
        tried.append(now[0])
        raise sqlite3.OperationalError("disk I/O error")

    writer = trial.recorder._writer
    assert writer is not None
    monkeypatch.setattr(writer, "write", fail)
    trial.recorder._retry_seconds = 1.0
    for _ in range(300):
        trial.recorder._flush()
        now[0] += 1.0
    assert [b - a for a, b in itertools.pairwise(tried)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert len(trial.warnings) == 1


def test_damaged_underneath(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "run.db")
    trial.train()

    def fail(snapshot: Any) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    assert trial.recorder._writer is not None
    trial.recorder._writer.write = fail  # type: ignore[method-assign]
    trial.train()
    trial.train()
    trial.check_memory()
    assert len(trial.warnings) == 1
    trial.recorder.close()


def test_the_warning_stands_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    recorder = Recorder(tmp_path / "file" / "run.db", flush_seconds=1000)
    recorder.event(0, "stopped", slug="x")
    recorder.flush()
    recorder.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("viva ▸ cannot record this run in a file (")


@pytest.mark.parametrize("state", ["none", "closed"])
def test_no_standard_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    stream = None
    if state == "closed":
        stream = open(os.devnull, "w")  # noqa: SIM115
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    (tmp_path / "file").touch()
    recorder = Recorder(tmp_path / "file" / "run.db", flush_seconds=1000)
    recorder.event(0, "stopped", slug="x")
    recorder.close()
    assert recorder.failure is not None


def test_faults_of_the_background_thread_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[str] = []
    told = threading.Event()

    def fault(name: str, error: Exception) -> None:
        faults.append(name)
        told.set()

    recorder = Recorder(tmp_path / "run.db", on_fault=fault, flush_seconds=0.005)
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise MemoryError("no more")

    monkeypatch.setattr(recorder, "_flush", fail)
    recorder.event(0, "stopped", slug="x")
    assert told.wait(60)
    monkeypatch.undo()
    recorder.close()
    assert faults == ["recorder"]
    assert len(open_run(tmp_path / "run.db").events("stopped")) == 1
