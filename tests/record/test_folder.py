"""Naming, listing and finding runs."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from vivavoce.record import folder as folder_module
from vivavoce.record.errors import MissingStoreError, RunNotFoundError
from vivavoce.record.folder import create_run, list_runs, resolve_run
from vivavoce.record.recorder import Recorder
from vivavoce.record.words import ADJECTIVES, ANIMALS

NAMES = ("2026-11-20-quick-otter", "2026-11-21-calm-fox", "2026-11-22-lively-otter", "2026-11-22-vivid-yak")


def record(path: Path, **meta: object) -> Path:
    recorder = Recorder(path, dict(meta), flush_seconds=1000)
    recorder.event(0, "stopped", slug="x")
    recorder.close()
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of four runs, started in the order of their names, and of things that are none."""
    for started, name in enumerate(NAMES):
        record(tmp_path / f"{name}.db", started=1000.0 + started)
    (tmp_path / "notes.db").write_text("not a store")
    (tmp_path / "empty.db").touch()
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "train.py").write_text("print()")
    return tmp_path


def test_names(tmp_path: Path) -> None:
    path = create_run(tmp_path / "new" / ".viva", date(2026, 11, 22))
    match = re.fullmatch(r"2026-11-22-([a-z]+)-([a-z]+)\.db", path.name)
    assert match is not None
    assert match[1] in ADJECTIVES
    assert match[2] in ANIMALS
    assert path.stat().st_size == 0


def test_a_folder_of_our_own_keeps_out_of_version_control(tmp_path: Path) -> None:
    create_run(tmp_path / ".viva")
    assert (tmp_path / ".viva" / ".gitignore").read_text().splitlines()[-1] == "*"
    (tmp_path / "mine").mkdir()
    create_run(tmp_path / "mine")
    assert not (tmp_path / "mine" / ".gitignore").exists()


def test_words_are_distinct_and_short() -> None:
    for words in (ADJECTIVES, ANIMALS):
        assert len(set(words)) == len(words) >= 64
        assert all(re.fullmatch("[a-z]{2,9}", word) for word in words)
    assert not set(ADJECTIVES) & set(ANIMALS)


def test_names_run_out_of_words_but_not_of_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "ADJECTIVES", ["lone"])
    monkeypatch.setattr(folder_module, "ANIMALS", ["wolf"])
    paths = {create_run(tmp_path) for _ in range(20)}
    assert len(paths) == 20
    assert sum(path.stem.endswith("lone-wolf") for path in paths) == 1


def test_processes_of_the_same_instant_get_different_names(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vivavoce.record import folder\n"
        "folder.ADJECTIVES = ['a', 'b', 'c']; folder.ANIMALS = ['x', 'y', 'z']\n"
        "sys.stdin.read()\n"
        "print(*[folder.create_run(Path(sys.argv[1])) for _ in range(20)])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "runs")]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        child.stdin = None
    names = [name for child in children for name in child.communicate(timeout=60)[0].split()]
    assert len(set(names)) == len(names) == 80


def test_no_generator_is_touched(tmp_path: Path) -> None:
    random.seed(0)
    np.random.seed(0)
    before = (random.getstate(), np.random.get_state()[1].tolist())
    create_run(tmp_path)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_listing_newest_first(runs: Path) -> None:
    assert [run.name for run in list_runs(runs)] == list(reversed(NAMES))


def test_listing_nothing(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == list_runs(tmp_path / "none") == []


def test_listing_takes_both_forms_of_time(tmp_path: Path) -> None:
    record(tmp_path / "seconds.db", started=1_700_000_000.5)
    record(tmp_path / "iso.db", started="2023-11-14T22:13:21+00:00")
    record(tmp_path / "none.db", started=None)
    assert [run.name for run in list_runs(tmp_path)] == ["none", "iso", "seconds"]


def test_listing_tells_of_damaged_runs(runs: Path) -> None:
    path = runs / f"{NAMES[0]}.db"
    path.write_bytes(path.read_bytes()[:5000])
    (damaged,) = [run for run in list_runs(runs) if run.meta is None]
    assert damaged.path == path
    assert "damaged" in damaged.error


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (None, NAMES[3]),
        ("last", NAMES[3]),
        (NAMES[0], NAMES[0]),
        (NAMES[0] + ".db", NAMES[0]),
        ("2026-11-20", NAMES[0]),
        ("2026-11-22-l", NAMES[2]),
        ("fox", NAMES[1]),
        ("lively-otter", NAMES[2]),
    ],
)
def test_finding_a_run(runs: Path, argument: str | None, expected: str) -> None:
    assert resolve_run(argument, runs) == runs / f"{expected}.db"


def test_a_path_is_taken_as_it_is(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_run(str(runs / "notes.db"), tmp_path / "none") == runs / "notes.db"
    monkeypatch.chdir(runs)
    assert resolve_run("notes.db", tmp_path / "none") == Path("notes.db")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("otter", r"^'otter' means 2 runs \(2026-11-22-lively-otter, 2026-11-20-quick-otter\): type more of the name$"),
        ("2026", r"^'2026' means 4 runs \(.*, …\): type more of the name$"),
        ("otte", r"^no run 'otte' in .*; did you mean 2026-11-22-lively-otter\?$"),
        ("lively-oter", r"; did you mean 2026-11-22-lively-otter\?$"),
        ("2026-11-21-clam-fox", r"; did you mean 2026-11-21-calm-fox\?$"),
        ("qqqqqqqq", r"^no run 'qqqqqqqq' in .*; viva runs lists those there are$"),
    ],
)
def test_not_finding_a_run(runs: Path, argument: str, message: str) -> None:
    with pytest.raises(RunNotFoundError, match=message):
        resolve_run(argument, runs)


def test_no_runs_yet(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"^no runs in .* yet: record one with viva run SCRIPT$"):
        resolve_run(None, tmp_path)
    with pytest.raises(RunNotFoundError, match=r"; there are none yet$"):
        resolve_run("otter", tmp_path)


def test_a_path_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingStoreError, match=r"^there is no run at .*gone\.db$"):
        resolve_run(str(tmp_path / "gone.db"), tmp_path)
