"""The first steps of a script are the same, bit for bit, with and without a preflight; then it ends."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.preflight.flights import fly

STEPS = 20


class Stateful(nn.Module):
    """Everything that a careless copy would disturb: statistics, dropout, noise from three generators, a hook, a count."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(16, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        noise = random.random() + float(np.random.rand())
        self.hidden = self.body(x + 0.01 * noise * torch.randn_like(x))
        return self.head(self.hidden)


def plain(steps):
    """The training, and everything that it leaves behind."""
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    model, losses, seen = Stateful(), [], []
    model.head.register_forward_hook(lambda *_: seen.append(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.9)
    left = (model, losses, seen, optimizer)

    def train():
        for _ in range(steps):
            x = torch.randn(16, 8)
            loss = F.cross_entropy(model(x), torch.randint(3, (16,)), label_smoothing=0.1)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if len(losses) < STEPS:
                schedule.step()

    return train, left


def traces(left):
    model, losses, seen, optimizer = left
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
    tensors += [s["momentum_buffer"] for s in optimizer.state.values()] + [torch.get_rng_state()]
    return tensors, [
        losses,
        seen,
        model.calls,
        random.getstate(),
        np.random.get_state()[1].tolist(),
        optimizer.param_groups[0]["lr"],
    ]


def test_the_same_bit_for_bit(tmp_path):
    train, left = plain(STEPS)
    train()
    tensors, values = traces(left)
    train, left = plain(STEPS + 10)
    flight = fly(train, tmp_path)
    found, same = traces(left)
    assert flight.stopped
    assert flight.status("learning-rate") == "ok"  # it was tried out on a copy
    assert values == same
    assert len(tensors) == len(found)
    assert all(map(torch.equal, tensors, found))


def test_a_slow_machine_changes_nothing_about_where_it_ends(tmp_path, monkeypatch):
    """Where the taps seem dear the budget asks for light steps, which only count."""
    monkeypatch.setattr("vivavoce.attach.budget.Budget.light_steps", lambda self, step: 1_000)
    train, _ = plain(STEPS + 30)
    flight = fly(train, tmp_path)
    assert flight.stopped
    assert flight.outcome.run.steps == STEPS


SCRIPT = """
import sys, torch
from torch import nn
torch.manual_seed(0); torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
if "sick" in sys.argv:
    for p in model.parameters(): nn.init.zeros_(p)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
try:
    for step in range(100):
        x = torch.randn(32, 6)
        loss = nn.functional.cross_entropy(model(x), x[:, :3].argmax(1))
        optimizer.zero_grad(); loss.backward()
        print(step, loss.item(), flush=True)
        if "fails" in sys.argv and step == 5: raise ValueError("no more")
        optimizer.step()
finally:
    print("over")
"""


def viva(folder: Path, *words: str):
    (folder / "train.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "-m", "vivavoce", "run", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_ends_the_script_after_its_first_steps(tmp_path):
    done = viva(tmp_path, "--preflight", "--json", "report.json", "train.py")
    assert done.returncode == 0, done.stderr
    *steps, last = done.stdout.splitlines()
    assert [line.split()[0] for line in steps] == [str(step) for step in range(STEPS)]
    assert last == "over"
    assert "overfits-one-batch" in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["run"]["steps"] == report["preflight"]["steps"] == STEPS
    assert len(report["preflight"]["checks"]) == 9


@pytest.mark.parametrize(("options", "code"), [((), 3), (("--fail-on", "note"), 3)])
def test_exit_code_of_a_sick_script(tmp_path, options, code):
    done = viva(tmp_path, "--preflight", *options, "train.py", "sick")
    assert done.returncode == code
    assert "symmetric-weights" in done.stderr


def test_a_script_that_fails_keeps_its_exit_code(tmp_path):
    done = viva(tmp_path, "--preflight", "train.py", "fails")
    assert done.returncode == 1
    assert "ValueError: no more" in done.stderr
    assert "because the script failed before it was over" in done.stderr
