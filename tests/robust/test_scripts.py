"""Whole scripts that go wrong or never train: same exit code and output as under python, and a verdict where there is one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.faithful.test_bitwise import run

TRAINING = """
import torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def train(steps):
    for _ in range(steps):
        x = torch.randn(8, 4)
        loss = torch.nn.functional.mse_loss(model(x), x[:, :1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
SCRIPTS = {  # name: (source, what Viva must say on standard error, what it must not)
    "no training": ("print(sum(range(10)))", "", "Traceback"),
    "torch without training": ("import torch\nprint(torch.ones(3).sum().item())", "", "Traceback"),
    "a crash at import": ("import not_a_module_anywhere", "ModuleNotFoundError", "switched off"),
    "an exception in training": (TRAINING + "train(30)\nraise ValueError('enough')", "30 steps", "switched off"),
    "an exit code": (TRAINING + "train(25)\nraise SystemExit(7)", "25 steps", "switched off"),
    "a patched argv": (TRAINING + "import sys\nsys.argv[0] = '/nowhere'\ntrain(25)", "25 steps", "switched off"),
    "a closed standard error": (TRAINING + "train(25)\nimport sys\nsys.stderr = None", "", "Traceback"),
    "a silent death": (TRAINING + "train(25)\nimport os\nprint('dying', flush=True)\nos._exit(9)", "", "Traceback"),
    "a signal": (TRAINING + "train(25)\nimport os, signal\nos.kill(os.getpid(), signal.SIGTERM)", "", "switched off"),
}
CHILD = (
    TRAINING
    + """
if __name__ == "__main__":
    import multiprocessing
    process = multiprocessing.get_context("spawn").Process(target=train, args=(20,))
    process.start()
    process.join()
    print("child", process.exitcode)
"""
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name: str, tmp_path: Path) -> None:
    source, said, unsaid = SCRIPTS[name]
    script = tmp_path / "script.py"
    script.write_text(source)
    plain = run(script, folder=tmp_path)
    watched = run("-m", "vivavoce", "run", script, folder=tmp_path)
    assert watched.returncode == plain.returncode
    assert watched.stdout == plain.stdout
    assert said in watched.stderr
    assert unsaid not in watched.stderr.replace(plain.stderr, "")
    if plain.stderr and plain.returncode == 1:
        assert watched.stderr.startswith(plain.stderr), "the traceback is python's own"


def test_a_child_that_trains(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CHILD)
    watched = run("-m", "vivavoce", "run", script, folder=tmp_path)
    assert watched.stdout == "child 0\n"
    assert "switched off" not in watched.stderr
    assert len(list((tmp_path / "runs").glob("*.db"))) == 1, "the child's training is recorded"


def test_two_runs_at_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TRAINING + "train(200)")
    command = [sys.executable, "-m", "vivavoce", "run", "--dir", str(tmp_path / "runs"), str(script)]
    with contextlib.ExitStack() as stack:
        start = partial(subprocess.Popen, command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        outputs = [process.communicate(timeout=280) for process in [stack.enter_context(start()) for _ in range(2)]]
    assert all("200 steps" in said for _, said in outputs)
    assert len(list((tmp_path / "runs").glob("*.db"))) == 2
