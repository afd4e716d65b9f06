"""Processes that a watched script starts and that train are recorded; those that do not train leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vivavoce.record.folder import list_runs

TRAIN = """
import sys, torch, torch.multiprocessing as mp
torch.set_num_threads(1)
def train(steps):
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(steps):
        model(torch.randn(8, 4)).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
if __name__ == "__main__":
    if "first" in sys.argv: train(5)
    context = mp.get_context(sys.argv[1])
    for steps in (25, 0):
        process = context.Process(target=train, args=(steps,)); process.start(); process.join(); print(process.exitcode)
"""


@pytest.mark.parametrize(("method", "first"), [("spawn", True), ("fork", False)])
def test_children_that_train(tmp_path: Path, method: str, first: bool) -> None:
    (tmp_path / "script.py").write_text(TRAIN)
    done = subprocess.run(
        [sys.executable, "-m", "vivavoce", "run", "script.py", method, *(["first"] if first else [])],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["0", "0"]
    runs = [entry.meta for entry in list_runs(tmp_path / ".viva")]
    assert sorted(meta["steps"] for meta in runs) == ([5, 25] if first else [25])
    child = next(meta for meta in runs if meta["steps"] == 25)
    assert child["parent"] is not None
    assert child["finished"] is not None
    assert "25 steps" in done.stderr or f"viva ▸ process {child['pid']}: " in done.stderr
    assert not list((tmp_path / ".viva").glob("*-wal"))


def test_a_child_without_vivavoce_runs_as_ever(tmp_path: Path) -> None:
    script = (
        "import multiprocessing as mp, os, sys\n"
        "if __name__ == '__main__':\n"
        "    mp.set_executable(sys.argv[1])\n"
        "    process = mp.get_context('spawn').Process(target=print, args=('in child',))\n"
        "    process.start(); process.join(); print(process.exitcode)\n"
    )
    (tmp_path / "script.py").write_text(script)
    bare = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not bare.exists():
        pytest.skip("no python outside of this environment")
    words = [sys.executable, "-m", "vivavoce", "run", "--quiet", "script.py", str(bare)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("in child\n0\n", "")
