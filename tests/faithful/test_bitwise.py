"""Training is the same, bit for bit, with and without Viva: weights, gradients, optimizer states, random generators.

Several programs share a process, to save importing torch; each prints one line per training run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
TIMEOUT_SECONDS = 280
EVERY_TAP_OFTEN = ("--budget", "50%")
GROUPS = {
    "usual": (
        "mlp_dropout",
        "cnn_batchnorm",
        "lstm",
        "transformer_bf16",
        "gan",
        "lbfgs",
        "accumulation",
        "grad_scaler",
        "generators",
    ),
    "shapes": ("checkpointing", "shared_parts", "averaged", "parametrized", "unusual_tensors", "growing", "user_hooks"),
    "derivatives": ("sam", "functional", "second_order", "scripted"),
}
MARKER = "True,False,False,False,False,torch.float32,1"  # gradient mode on, the other flags at their defaults


def run(*arguments: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run python with these arguments on one thread, the store in `folder`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VIVA_", "COVERAGE"))}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"} | variables
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment | {"VIVA_DIR": str(folder / "runs")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def watched(*arguments: str | Path, folder: Path, options: tuple[str, ...] = (), **variables: str) -> str:
    """Standard output under `viva run`; fails where Viva warned or the program did."""
    result = run("-m", "vivavoce", "run", *options, *arguments, folder=folder, **variables)
    assert result.returncode == 0, result.stderr
    assert "switched off" not in result.stderr, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout


def assert_same(program: tuple[str | Path, ...], folder: Path, **variables: str) -> None:
    plain = run(*program, folder=folder, **variables)
    assert plain.returncode == 0, plain.stderr
    assert MARKER in plain.stdout
    for options in ((), EVERY_TAP_OFTEN):
        assert watched(*program, folder=folder, options=options, **variables).splitlines() == plain.stdout.splitlines()
    assert list((folder / "runs").glob("*.db")), "nothing was recorded: the comparison shows nothing"


@pytest.mark.parametrize("group", GROUPS)
def test_the_same_bits(group: str, tmp_path: Path) -> None:
    assert_same((PROGRAMS / "run_several.py", *GROUPS[group]), tmp_path)


def test_the_same_bits_with_loader_workers(tmp_path: Path) -> None:
    assert_same((PROGRAMS / "loader_workers.py",), tmp_path)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_the_same_bits_and_graphs_when_compiled(backend: str, tmp_path: Path) -> None:
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")):
        pytest.skip("torch.compile needs a C++ compiler here")
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}  # shared by the runs, so that one of them compiles
    assert_same((PROGRAMS / "compiled.py", backend), tmp_path, **cache)


def test_every_program_is_run() -> None:
    grouped = {name for group in GROUPS.values() for name in group}
    apart = {"loader_workers", "compiled", "run_several", "fingerprint"}
    assert {path.stem for path in PROGRAMS.glob("*.py")} == grouped | apart


def test_the_fingerprint_sees_a_single_bit(tmp_path: Path) -> None:
    lines = [
        "import torch; from fingerprint import show",
        "w = torch.zeros(1000); show('a', w); show('a', w)",
        "w.view(torch.int32)[500] = 1; show('a', w)",
        "torch.rand(1); show('a', w)",
        "import random; random.random(); show('a', w)",
    ]
    output = run("-c", "\n".join(lines), folder=tmp_path, PYTHONPATH=str(PROGRAMS)).stdout.splitlines()
    assert len(output) == 5
    assert output[0] == output[1]
    assert len(set(output)) == 4
