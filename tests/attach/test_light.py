"""Light steps: every loss is recorded, every step counted, and whatever is unusual ends the round."""

import ctypes
import math

import pytest
import torch
from torch import nn
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
    register_optimizer_step_post_hook,
)

import vivavoce
from vivavoce.attach.light import finite_at

from .reading import rows

ROUND = 7


@pytest.fixture
def lightly(tmp_path):
    """`with lightly() as run:` watches in rounds of light steps, without deep samples; no tap may fail."""
    run = vivavoce.watch(budget=0.5, directory=tmp_path)
    enter = run.start

    def start():
        enter()
        run._session.budget.light_steps = lambda step: ROUND
        run._session.budget.wants_deep = lambda step: False
        return run

    run.start = start
    yield run
    assert run._session.faults == []


def fit(steps, spoil=None, closed_over=None):
    """Train a line; at step `spoil` an input is infinite. Returns the losses."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    losses = []
    for step in range(1, steps + 1):
        inputs = torch.full((4, 3), 1.0 + 0.001 * step)
        if step == spoil:
            inputs[0, 0] = math.inf
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if closed_over is not None:
            closed_over(step, model, optimizer)
    return losses


def test_every_loss_is_recorded_in_order(lightly):
    with lightly as run:
        fast = []
        losses = fit(40, closed_over=lambda *_: fast.append(run._session.light.fast))
    assert sum(fast) > 20, "the steps did not take the fast path"
    assert run.run.steps == 40
    assert rows(run.run, "train/loss") == [(step, [loss]) for step, loss in enumerate(losses, 1)]
    gradients = [step for step, _ in rows(run.run, "gradient_norm")]
    assert 40 / (ROUND + 1) <= len(gradients) <= 40 / 3, "the steps were not light"


def test_weights_are_the_same(lightly):
    torch.manual_seed(3)
    expected = fit(30)
    torch.manual_seed(3)
    with lightly:
        assert fit(30) == expected


def test_hooks_of_others_are_called_at_every_step(lightly):
    called = []
    with lightly:
        handle = register_optimizer_step_post_hook(lambda *_: called.append(1))
        try:
            fit(40)
        finally:
            handle.remove()
    assert len(called) == 40


def test_no_hook_is_left_behind(lightly):
    before = len(_global_optimizer_pre_hooks), len(_global_optimizer_post_hooks)
    for _ in range(2):
        lightly.start()
        fit(20)
        lightly.stop()
        assert (len(_global_optimizer_pre_hooks), len(_global_optimizer_post_hooks)) == before


@pytest.mark.parametrize("spoil", range(20, 20 + ROUND + 1))
def test_a_loss_that_is_not_finite_is_noticed_on_the_spot(lightly, spoil):
    with lightly as run:
        losses = fit(40, spoil)
    assert not math.isfinite(losses[spoil - 1])
    first = min(event.step for event in run.run.events("non-finite"))
    assert first == spoil
    assert [step for step, _ in rows(run.run, "train/loss")] == list(range(1, 41))


def test_a_gradient_that_is_not_finite_is_noticed_on_the_spot(lightly):
    weight = nn.Parameter(torch.tensor([0.5, 2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.001)
    with lightly as run:
        for step in range(1, 31):
            optimizer.zero_grad()
            shift = weight.detach().clone() if step == 21 else torch.zeros(2)
            (weight - shift).norm().backward()  # at 0 the norm has a gradient of NaN in older versions, 0 in newer
            if step == 21:
                weight.grad.fill_(math.nan)
            optimizer.step()
    assert min(event.step for event in run.run.events("non-finite")) == 21


def test_a_validation_pass_between_light_steps_is_closed_at_its_step(lightly):
    held_out = torch.randn(4, 3)

    def validate(step, model, optimizer):
        if step % 10 == 0:
            with torch.no_grad():
                nn.functional.mse_loss(model(held_out), torch.zeros(4, 1))

    with lightly as run:
        fit(40, closed_over=validate)
    assert [step for step, _ in rows(run.run, "val/loss")] == [10, 20, 30, 40]


def test_a_second_optimizer_ends_the_fast_path(lightly):
    other = nn.Linear(2, 1)
    second = torch.optim.SGD(other.parameters(), lr=0.001)

    def late(step, model, optimizer):
        if step > 20:
            second.zero_grad()
            other(torch.ones(1, 2)).sum().backward()
            second.step()

    with lightly as run:
        fit(30, closed_over=late)
    assert run.run.steps == 30
    assert len(run.run.optimizers) == 2


def test_an_optimizer_that_steps_another_one_counts_once(lightly):
    inner_model = nn.Linear(2, 1)
    inner = torch.optim.SGD(inner_model.parameters(), lr=0.001)

    class Outer(torch.optim.SGD):
        nested = False

        def step(self, closure=None):
            if self.nested:
                inner.step()
            return super().step(closure)

    outer = Outer(inner_model.parameters(), lr=0.001)
    with lightly as run:
        for step in range(1, 31):
            outer.nested = step > 15
            outer.zero_grad()
            inner_model(torch.ones(1, 2)).sum().backward()
            outer.step()
    assert run.run.steps == 30


def test_accumulated_backward_calls_are_counted(lightly):
    with lightly as run:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
        for _ in range(30):
            optimizer.zero_grad()
            for _ in range(2):
                model(torch.ones(4, 3)).square().mean().backward()
            optimizer.step()
    assert run.run.steps == 30
    assert len(rows(run.run, "train/loss")) == 60
    assert {row[0] for _, row in rows(run.run, "step")} == {2.0}


def test_an_optimizer_that_dies_in_a_round_is_let_go(lightly):
    with lightly as run:
        fit(20)
        assert run._session.light.state is None, "the model is gone: nothing is held of its optimizer"
        fit(20)
    assert len(rows(run.run, "train/loss")) == 40


def test_a_gradient_that_has_left_the_cpu_in_a_round_is_not_read():
    parameter = nn.Parameter(torch.ones(2, device="meta"))
    parameter.grad = torch.ones(2, device="meta")  # has no memory, as that of a GPU is none of ours
    assert finite_at(parameter, ctypes.c_float)
    assert finite_at(parameter)


def broken(*_):
    raise RuntimeError("a fault of ours")


@pytest.mark.parametrize("where", ["finite_at", "loss", "hand_over"])
def test_a_fault_on_the_fast_path_stays_away_from_the_training(tmp_path, monkeypatch, capsys, where):
    run = vivavoce.watch(budget=0.5, directory=tmp_path).start()
    session = run._session
    session.budget.light_steps = lambda step: ROUND
    session.budget.wants_deep = lambda step: False

    def spoil(step, model, optimizer):
        if step == 15:
            assert session.light.fast
            if where == "finite_at":
                monkeypatch.setattr("vivavoce.attach.optimizers.finite_at", broken)
            elif where == "loss":
                monkeypatch.setattr("vivavoce.attach.backward.BackwardSite.surprising", broken)
            else:
                monkeypatch.setattr("vivavoce.attach.backward.BackwardTap.hand_over", broken)

    torch.manual_seed(0)
    losses = fit(40, closed_over=spoil)
    run.stop()
    torch.manual_seed(0)
    assert losses == fit(40)
    assert session.faults
    assert "the training goes on" in capsys.readouterr().err
