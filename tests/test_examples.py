"""The examples come to the verdict that their table says, and print what they print under python."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.faithful.test_bitwise import run

EXAMPLES = Path(__file__).parents[1] / "examples"
ROW = re.compile(r"^\| \[([a-z0-9_]+\.py)\].*\| `?([a-z-]+)`? \|$", flags=re.MULTILINE)
TABLE = dict(ROW.findall((EXAMPLES / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", TABLE)
def test_verdict(name: str, tmp_path: Path) -> None:
    if "compile" in name and not (shutil.which("g++") or shutil.which("c++")):
        pytest.skip("torch.compile needs a C++ compiler here")
    file = tmp_path / "report.json"
    watched = run("-m", "vivavoce", "run", "--json", file, EXAMPLES / name, folder=tmp_path)
    assert watched.returncode == 0, watched.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    primary = next((finding["slug"] for finding in report["findings"] if finding["primary"]), report["verdict"])
    assert primary == TABLE[name], watched.stderr


def test_none_mentions_viva() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert "viva" not in path.read_text(encoding="utf-8").lower(), path.name


def test_the_demo_explodes_as_it_does_under_python(tmp_path: Path) -> None:
    plain = run(EXAMPLES / "exploding_rnn.py", folder=tmp_path)
    watched = run("-m", "vivavoce", "run", EXAMPLES / "exploding_rnn.py", folder=tmp_path)
    assert watched.stdout == plain.stdout
    assert "nan" in plain.stdout
