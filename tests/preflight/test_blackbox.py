"""What is kept of a failure, what is named by repeating it, and what a healthy run pays."""

from __future__ import annotations

import base64
import inspect

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import vivavoce
from vivavoce.attach import blackbox


class Breaks(nn.Module):
    """Computes something else from step `at` on, so that lines noted at the first step do not help."""

    def __init__(self, at, how):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8, bias=False), nn.Linear(8, 1)
        self.at, self.how, self.calls = at, how, 0

    def forward(self, x):
        self.calls += 1
        hidden = self.first(x)
        if self.calls >= self.at:
            hidden = self.how(hidden)
        return self.last(hidden)


def watched(tmp_path, model, steps=40, spoil=lambda step, x: x, after=None):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    run = vivavoce.watch(model, optimizer, directory=tmp_path)
    with run:
        for step in range(1, steps + 1):
            x = spoil(step, torch.randn(16, 4))
            loss = (model(x) - x[:, :1]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if after is not None:
                after(step)
    assert run._session.faults == []
    return run.run


def zero_over_zero(hidden):
    hidden = hidden - hidden
    return hidden / hidden.sum(1, keepdim=True)


def root_of_zero(hidden):
    return (hidden * hidden).sqrt()


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_names_the_operation_and_line_of_a_broken_loss(tmp_path):
    run = watched(tmp_path, Breaks(30, zero_over_zero))
    (replay,) = run.events("replay")
    assert replay.data["of"] == 30
    assert replay.data["reproduced"]
    assert replay.data["op"] == "DivBackward0"
    assert replay.data["file"] == __file__
    assert replay.data["line"] == line_of(zero_over_zero, "hidden /")
    finding = next(f for f in vivavoce.examine.examine(run).findings if f.slug == "non-finite")
    assert finding.where.line == replay.data["line"]


def test_names_the_operation_and_line_of_a_broken_gradient(tmp_path):
    """Only the failed step's batch breaks it: the variables of the script still hold that batch at the next step."""

    def spoil(step, x):
        if step == 30:
            x[3] = 0.0
        return x

    run = watched(tmp_path, Breaks(25, root_of_zero), spoil=spoil)
    (replay,) = run.events("replay")
    assert replay.data["what"] == "gradient"
    assert replay.data["reproduced"]
    assert replay.data["op"] == "SqrtBackward0"
    assert replay.data["line"] == line_of(root_of_zero, "sqrt")


def test_a_step_after_an_alarm_is_repeated_at_once(tmp_path):
    """The loss jumps before it breaks, so the step that breaks was noted down."""

    def spoil(step, x):
        return x * 100 if step == 35 else x

    model = Breaks(36, zero_over_zero)
    run = watched(tmp_path, model, spoil=spoil)
    event = run.events("non-finite")[0]
    assert event.data["op"] == "DivBackward0"
    assert event.data["line"] == line_of(zero_over_zero, "hidden /")
    assert run.events("replay") == []


def test_what_was_known_of_the_last_steps(tmp_path):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses, data = [], torch.randn(160, 4)
    data[(2 * 10 + 4) * 4 % 160] = float("nan")
    with vivavoce.watch(model, optimizer, directory=tmp_path, budget=0.5) as run:
        for _ in range(3):
            for (x,) in DataLoader(TensorDataset(data), batch_size=16):
                loss = model(x).square().mean()
                losses.append(loss.item())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    (event,) = run.run.events("black-box")
    assert event.data["reason"] == "non-finite"
    broken = next(i for i, loss in enumerate(losses) if loss != loss)
    kept = {row["step"]: row.get("loss") for row in event.data["rows"]}
    assert kept[broken + 1] == "nan"
    assert kept[broken] == pytest.approx(losses[broken - 1])
    assert event.data["batch"]["index"] == broken % 10 + 1
    state = event.data["random"][-1]
    restored = torch.frombuffer(bytearray(base64.b64decode(state["torch"])), dtype=torch.uint8)
    torch.set_rng_state(restored)
    assert torch.equal(torch.get_rng_state(), restored)


def test_an_exception_is_kept(tmp_path):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    run = vivavoce.watch(model, optimizer, directory=tmp_path)

    def train():
        for step in range(10):
            loss = model(torch.randn(8, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            _ = 1 / (step - 8)

    with pytest.raises(ZeroDivisionError), run:
        train()
    (event,) = run.run.events("black-box")
    assert event.data["reason"] == "exception"
    assert event.data["rows"][-1]["step"] == 9


def test_a_healthy_run_keeps_no_reference_and_no_hook(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("a healthy run was noted down")

    monkeypatch.setattr(blackbox, "Capture", never)
    run = watched(tmp_path, Breaks(1000, zero_over_zero))
    assert not run.events("black-box")


def test_noting_down_ends_by_itself(tmp_path):
    """Alarms in a run that goes on: the hooks come off after a few steps, and only so many steps are noted."""
    hooks = []

    def spoil(step, x):
        return x * 50 if step % 10 == 0 and step > 20 else x

    def after(step):
        hooks.append(len(nn.modules.module._global_forward_pre_hooks))

    watched(tmp_path, Breaks(1000, zero_over_zero), steps=120, spoil=spoil, after=after)
    assert 0 < sum(hooks) <= blackbox.MOST_ARMED + blackbox.ARMED_STEPS
    assert hooks[-1] == 0


@pytest.mark.parametrize("how", [zero_over_zero, root_of_zero])
def test_training_is_the_same_bit_for_bit(tmp_path, how):
    def weights(run):
        torch.manual_seed(5)
        model = Breaks(12, how)
        run(model)
        return [torch.nan_to_num(p.detach()) for p in model.parameters()] + [torch.get_rng_state()]

    def plain(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(1, 31):
            x = spoil(step, torch.randn(16, 4))
            loss = (model(x) - x[:, :1]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def spoil(step, x):
        return x.index_fill(0, torch.tensor([3]), 0.0) if step == 20 else x

    expected = weights(plain)
    found = weights(lambda model: watched(tmp_path, model, steps=30, spoil=spoil))
    assert all(map(torch.equal, expected, found))


@pytest.mark.parametrize("method", ["sample", "_rows", "_named", "_begin", "forward_culprit"])
def test_faults_are_harmless(tmp_path, monkeypatch, method, capsys):
    def broken(*_, **__):
        raise ZeroDivisionError("injected")

    owner = blackbox.BlackBox if hasattr(blackbox.BlackBox, method) else blackbox
    if method == "sample":
        owner, method = blackbox, "States"
    monkeypatch.setattr(owner, method, broken)
    model = Breaks(30, zero_over_zero)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with vivavoce.watch(model, optimizer, directory=tmp_path) as run:
        for _ in range(40):
            loss = model(torch.randn(16, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert run._session.faults == ["black box"]
    assert capsys.readouterr().err.count("internal error") == 1
    assert model.calls == 40
