"""The working folder of a trial and the fence around it: the user's files stay as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vivavoce.repair import workspace
from vivavoce.repair.errors import RepairError
from vivavoce.repair.specification import Program, moved


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "train.py").write_text("print('hello')\n")
    (folder / "data" / "small.txt").write_text("small")
    (folder / "data" / "large.bin").write_bytes(b"large" * 1000)
    (folder / ".viva").mkdir()
    (folder / ".venv").mkdir()
    return folder


def made(root: Path, scratch: Path, **overrides: str) -> workspace.Workspace:
    scratch.mkdir()
    program = Program((str(root),), str(root), "train.py")
    return workspace.make(
        program, scratch, {str(root / name.replace("_", ".")): text for name, text in overrides.items()}
    )


def test_small_files_are_copied_large_ones_linked_and_runs_left_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "LARGEST_COPY", 100)
    monkeypatch.setattr(workspace, "_clone", lambda *_: False)
    copy = Path(made(root, tmp_path / "s").of(str(root)))
    assert (copy / "data" / "small.txt").read_text() == "small"
    assert not (copy / "data" / "small.txt").is_symlink()
    assert (copy / "data" / "large.bin").is_symlink()
    assert (copy / ".venv").is_symlink()
    assert not (copy / ".viva").exists()


def test_a_linked_folder_of_the_users_stays_reachable(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.txt").write_text("far away")
    (root / "far").symlink_to(elsewhere)
    copy = Path(made(root, tmp_path / "s").of(str(root)))
    assert (copy / "far" / "x.txt").read_text() == "far away"


def test_new_texts_stand_in_the_copy_only(root: Path, tmp_path: Path) -> None:
    copy = Path(made(root, tmp_path / "s", train_py="print('new')\n").of(str(root)))
    assert (copy / "train.py").read_text() == "print('new')\n"
    assert (root / "train.py").read_text() == "print('hello')\n"


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RepairError, match=r"there is no folder .*gone on this machine"):
        workspace.make(Program((str(tmp_path / "gone"),), str(tmp_path), "train.py"), tmp_path, {})


def test_a_changed_original_behind_a_link_is_noticed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "LARGEST_COPY", 100)
    monkeypatch.setattr(workspace, "_clone", lambda *_: False)
    copy = made(root, tmp_path / "s")
    assert copy.changed() == []
    (root / "data" / "large.bin").write_bytes(b"other")
    assert copy.changed() == [str(root / "data" / "large.bin")]


@pytest.mark.parametrize(
    ("marked", "here", "script", "roots"),
    [
        ("project", "project/sub", "project/sub/train.py", ["project"]),
        (None, "project", "project/sub/train.py", ["project"]),
        (None, "other", "project/train.py", ["project", "other"]),
    ],
)
def test_roots(tmp_path: Path, marked: str | None, here: str, script: str, roots: list[str]) -> None:
    for folder in ("project/sub", "other"):
        (tmp_path / folder).mkdir(parents=True)
    if marked:
        (tmp_path / marked / "pyproject.toml").touch()
    (tmp_path / script).touch()
    assert workspace.roots_of(tmp_path / here, tmp_path / script) == tuple(str(tmp_path / root) for root in roots)


def test_paths_are_moved_below_their_new_folder_only() -> None:
    value = {"file": "/a/b/c.py", "line": 3, "others": ["/a/bc.py", ("/a/b",)]}
    assert moved(value, {"/a/b": "/n"}) == {"file": "/n/c.py", "line": 3, "others": ["/a/bc.py", ("/n",)]}


FENCED = """
import os, sys
from pathlib import Path
from vivavoce.repair.fence import Fence
scratch, root = sys.argv[1:3]
fence = Fence(Path(scratch), (root,))
fence.raise_()
os.chdir(os.path.join(scratch, "0"))
{act}
"""


def fenced(tmp_path: Path, act: str) -> subprocess.CompletedProcess[str]:
    """Run `act` in a copy in which `linked.txt` is a link to the user's file."""
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    (scratch / "0").mkdir(parents=True)
    root.mkdir()
    (root / "linked.txt").write_text("the user's")
    (scratch / "0" / "linked.txt").symlink_to(root / "linked.txt")
    script = [sys.executable, "-c", FENCED.format(act=act), str(scratch), str(root)]
    environment = os.environ | {"TMPDIR": "/nowhere/else", "TEMP": ""}
    return subprocess.run(script, capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.parametrize(
    "act",
    [
        "open('linked.txt', 'w').write('trial')",
        "open('linked.txt', 'a').write('trial')",
        "Path('linked.txt').write_text('trial')",
        "os.write(os.open('linked.txt', os.O_WRONLY | os.O_TRUNC), b'trial')",
        "os.remove('linked.txt')",
        "open('new.txt', 'w').write('trial'); os.rename('new.txt', 'linked.txt')",
    ],
)
def test_writing_to_a_link_leaves_the_users_file_alone(tmp_path: Path, act: str) -> None:
    result = fenced(tmp_path, act)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "root" / "linked.txt").read_text() == "the user's"
    copy = tmp_path / "scratch" / "0" / "linked.txt"
    assert not copy.exists() or "trial" in copy.read_text()


@pytest.mark.parametrize(
    "act",
    [
        "open(os.path.join(root, 'linked.txt'), 'w')",
        "open(os.path.join(root, 'new.txt'), 'w')",
        "os.remove(os.path.join(root, 'linked.txt'))",
        "open('new.txt', 'w'); os.rename('new.txt', os.path.join(root, 'linked.txt'))",
        "import sqlite3; sqlite3.connect(os.path.join(root, 'new.db'))",
    ],
)
def test_writing_into_the_users_folder_by_its_own_path_is_refused(tmp_path: Path, act: str) -> None:
    result = fenced(tmp_path, act)
    assert "PermissionError: the script writes to" in result.stderr
    assert "by a relative path" in result.stderr
    assert [file.name for file in (tmp_path / "root").iterdir()] == ["linked.txt"]
    assert (tmp_path / "root" / "linked.txt").read_text() == "the user's"


def test_reading_and_appending_of_what_is_the_trials_own_goes_on(tmp_path: Path) -> None:
    act = (
        "open('own.txt', 'w').write('1'); print(open(os.path.join(root, 'linked.txt')).read(), open('own.txt').read())"
    )
    assert fenced(tmp_path, act).stdout == "the user's 1\n"
