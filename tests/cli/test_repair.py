"""`viva repair`: what it refuses, and whole repairs with the real remedies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli.stores import record
from tests.repair.scripts import SICK, TRAINING
from vivavoce.cli import command

pytestmark = pytest.mark.timeout(900)  # seconds: whole runs in processes of their own


def call(*words: str, **more: str) -> Result:
    return CliRunner().invoke(command, ["repair", *words], prog_name="viva", env=more)


def viva(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "vivavoce", *words]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=800, check=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SICK)
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "train.pyc").write_bytes(b"")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(SICK)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a script to repair"),
        (("missing.py",), "there is no file 'missing.py'"),
        (("-",), "a script from standard input has no source to repair"),
        (("otter",), "no run 'otter' in"),
        (("otter", "--epochs"), "a recorded run takes no arguments"),
        (("package",), "'package' is no Python source file"),
        (("--time", "soon", "train.py"), "--time: 'soon' is no time; write it as 90s, 10m or 2h"),
        (("--time", "0", "train.py"), "--time: '0' is no time"),
        (("--seeds", "2", "train.py"), "2 is not in the range x>=3"),
        (("--trails", "2", "train.py"), "Did you mean"),
        (("--json", "other.json", "train.py"), "other.json exists and is no result of Viva's; --force overwrites it"),
        (("--patch", "train.py", "train.py"), "train.py exists and is no result of Viva's"),
        (("--output", "gone/page.html", "train.py"), "--output: 'gone/page.html' is no file that can be written"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(folder: Path, words: tuple[str, ...], says: str) -> None:
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert "Try 'viva repair --help'" in result.output or "Usage" in result.output


def test_torchrun_is_refused(folder: Path) -> None:
    result = call("train.py", LOCAL_RANK="0")
    assert result.exit_code == 2
    assert "repairs are not for torchrun" in result.output


def test_a_run_of_a_script_that_has_changed_or_is_not_here_is_refused(folder: Path) -> None:
    record(folder, "a", started=time.time() - 3600)
    result = call("a.db")
    assert result.exit_code == 2
    assert "train.py has changed since a was recorded: viva repair train.py" in " ".join(result.output.split())
    record(folder, "b", command=["gone.py"], started=time.time())
    assert "ran gone.py, which is not here" in " ".join(call("b.db").output.split())
    record(folder, "c", rank=0, started=time.time())
    assert "was started by torchrun" in call("c.db").output


def test_a_script_that_does_not_train_fails_with_one_line(folder: Path) -> None:
    (folder / "train.py").write_text("print('hello')\n")
    result = viva(folder, "repair", "train.py")
    assert (result.returncode, result.stdout) == (1, "")
    assert "does not train when it is run here" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_healthy_script_is_left_alone(folder: Path) -> None:
    (folder / "train.py").write_text(TRAINING)
    result = viva(folder, "repair", "--apply", "train.py")
    assert (result.returncode, result.stdout) == (0, "")
    assert "nothing to repair" in result.stderr
    assert (folder / "train.py").read_text() == TRAINING


def test_a_recorded_run_is_repaired_and_the_patch_written(folder: Path) -> None:
    assert viva(folder, "run", "train.py").returncode == 0
    files = ("--json", "repair.json", "--patch", "fix.patch", "-o", "repair.html")
    result = viva(folder, "repair", "--apply", *files, "last")
    assert result.returncode == 0, result.stderr
    assert "repaired" in result.stderr
    assert result.stdout == (folder / "fix.patch").read_text()
    assert "+    optimizer.zero_grad()" in result.stdout
    text = (folder / "train.py").read_text()
    assert text.replace("    optimizer.zero_grad()\n", "") == SICK
    (kept,) = (folder / ".viva" / "repairs").glob("*.patch")
    assert kept.read_text() == result.stdout
    data = json.loads((folder / "repair.json").read_text())
    assert data["repair"] == "repaired"
    assert data["patch"] == result.stdout
    assert '<meta name="generator" content="vivavoce">' in (folder / "repair.html").read_text()
    assert viva(folder, "run", "--quiet", "--fail-on", "warning", "train.py").returncode == 0
