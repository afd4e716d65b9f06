"""`viva run --guard` on scripts: the same weights as under python while nothing is wrong, an account of every act."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

SCRIPT = """
import sys, torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
broken = int(sys.argv[1])
net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for step in range(1, 121):
    x = torch.randn(32, 6)
    y = (x[:, :3] + x[:, 3:]).argmax(1)
    if step == broken:
        x[0, 0] = float("nan")
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(sum(float(p.double().sum()) for p in net.state_dict().values()).hex(), torch.get_rng_state().sum().item())
"""


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_healthy_script_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    plain = call(tmp_path, "train.py", "-1")
    guarded = call(tmp_path, "-m", "vivavoce", "run", "--guard", "train.py", "-1")
    assert plain.returncode == guarded.returncode == 0
    assert guarded.stdout == plain.stdout
    assert "viva ▸ guard   it never had to act" in guarded.stderr


def test_a_broken_batch_costs_one_step_and_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    done = call(tmp_path, "-m", "vivavoce", "run", "--guard", "--json", "report.json", "train.py", "60")
    assert done.returncode == 0
    assert "nan" not in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(act["step"], act["act"]) for act in report["guard"]["acts"]] == [(60, "skip-batch"), (60, "rewind")]
    assert report["guard"]["gave_up"] is None
    assert report["findings"][0]["slug"] in ("bad-input", "non-finite")
    assert "viva ▸ guard, step 60: skip-batch: the gradient of 0.weight" in done.stderr


def test_the_exploding_example_survives_and_is_still_found_out(tmp_path: Path) -> None:
    done = call(
        tmp_path, "-m", "vivavoce", "run", "--guard", "--json", "report.json", str(EXAMPLES / "exploding_rnn.py")
    )
    assert "nan" not in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert {act["act"] for act in report["guard"]["acts"]} >= {"clip"}
    assert report["findings"][0]["slug"] == "exploding-gradients"
    assert "the guard held it down" in report["findings"][0]["why"]


def test_acts_need_the_guard(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('ran')")
    done = call(tmp_path, "-m", "vivavoce", "run", "--allow", "clip", "train.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: --allow: nothing acts on the training without --guard" in done.stderr
