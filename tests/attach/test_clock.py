"""The clock of steps: what counts as a step where several optimizers, or none, take part."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from .reading import assert_rows, gradient_norms, norm, rows, track


def loss_of(model):
    return model(torch.randn(4, 2)).square().mean()


def step(optimizer, model):
    optimizer.zero_grad()
    loss_of(model).backward()
    optimizer.step()


def sgd(model, lr=0.01):
    return torch.optim.SGD(model.parameters(), lr=lr)


def steps_of(run, optimizer):
    return [s for s, _ in rows(run, "gradient_norm", ("optimizer", optimizer))]


def test_one_optimizer(watching):
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    with watching() as run:
        for _ in range(5):
            step(optimizer, model)
    assert run.run.steps == 5
    assert steps_of(run.run, 0) == [1, 2, 3, 4, 5]
    assert [s for s, _ in rows(run.run, "train/loss")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("critic_steps", "rounds"), [(1, 4), (5, 3)])
def test_two_optimizers_that_take_turns(watching, critic_steps, rounds):
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    with watching() as run:
        generator_optimizer, critic_optimizer = sgd(generator), sgd(critic)
        for _ in range(rounds):
            for _ in range(critic_steps):
                critic_optimizer.zero_grad()
                loss_of(nn.Sequential(generator, critic)).backward()
                critic_optimizer.step()
            generator_optimizer.zero_grad()
            loss_of(nn.Sequential(generator, critic)).backward()
            generator_optimizer.step()
    assert run.run.steps == rounds * critic_steps
    assert steps_of(run.run, 1) == list(range(1, rounds * critic_steps + 1))  # the critic's, made second
    assert steps_of(run.run, 0) == [critic_steps * (i + 1) for i in range(rounds)]


def test_models_trained_one_after_the_other(watching):
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    first_optimizer, second_optimizer = sgd(first), sgd(second)
    with watching() as run:
        for _ in range(3):
            step(first_optimizer, first)
        for _ in range(3):
            step(second_optimizer, second)
    assert steps_of(run.run, 0) == [1, 2, 3]
    assert steps_of(run.run, 1) in ([3, 4, 5], [4, 5, 6])
    assert run.run.steps == steps_of(run.run, 1)[-1]


def test_models_that_die_one_after_the_other(watching):
    """Addresses are used again: neither names nor ids nor reach may be taken from the dead."""
    with watching() as run:
        for _ in range(6):
            model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
            optimizer = sgd(model)
            for _ in range(3):
                step(optimizer, model)
            del model, optimizer
    recorded = run.run
    assert len(recorded.models) == len(recorded.optimizers) == 6
    assert len(recorded.parameters) == 24
    assert all(p.reached is True for p in recorded.parameters.values())
    assert sorted(p.model for p in recorded.parameters.values()) == sorted(list(range(6)) * 4)


def test_an_optimizer_that_steps_another(watching):
    class Outer(torch.optim.Optimizer):
        def __init__(self, inner):
            self.inner = inner
            self.param_groups = inner.param_groups
            self.defaults = inner.defaults
            self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks = {}, {}
            self._patch_step_function()

        def step(self, closure=None):
            return self.inner.step(closure)

    model = nn.Linear(2, 1)
    optimizer = Outer(sgd(model))
    expected = []
    with watching() as run:
        for _ in range(4):
            model.zero_grad()
            loss_of(model).backward()
            expected.append(gradient_norms(model.parameters()))
            optimizer.step()
    assert run.run.steps == 4
    assert_rows(track(run.run, "gradient_norm"), expected)


class Fragile(torch.optim.SGD):
    failing = True

    def step(self, closure=None):
        if self.failing:
            raise RuntimeError("broken step")
        return super().step(closure)


def test_training_goes_on_after_an_exception_inside_a_step(watching):
    model = nn.Linear(2, 1)
    optimizer = Fragile(model.parameters(), lr=0.01)
    with watching() as run:
        with pytest.raises(RuntimeError, match="broken step"):
            step(optimizer, model)
        optimizer.failing = False
        expected = []
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            expected.append(gradient_norms(model.parameters()))
            optimizer.step()
    assert_rows_end(track(run.run, "gradient_norm"), expected)


def test_another_optimizer_goes_on_after_an_exception_inside_a_step(watching):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    with watching() as run:
        optimizer, other_optimizer = Fragile(model.parameters(), lr=0.01), sgd(other)
        with pytest.raises(RuntimeError, match="broken step"):
            step(optimizer, model)
        for _ in range(3):
            step(other_optimizer, other)
    assert len(rows(run.run, "gradient_norm", ("optimizer", 1))) == 3


def assert_rows_end(t, expected):
    np.testing.assert_allclose(t.mean[-len(expected) :], expected, rtol=1e-5)


def test_by_hand(watching):
    weight = torch.randn(2, 3, requires_grad=True)
    losses, gradients = [], []
    with watching() as run:
        for _ in range(10):
            loss = (torch.randn(5, 2) @ weight).square().mean()
            losses.append(loss.item())
            loss.backward()
            gradients.append(norm(weight.grad))
            with torch.no_grad():
                weight -= 0.1 * weight.grad
            weight.grad.zero_()
    t = track(run.run, "gradient_norm")
    assert [run.run.parameters[id].name for id in t.columns] == ["weight"]
    assert len(t) == run.run.steps == 7  # the first three backward calls could have been followed by an optimizer
    np.testing.assert_allclose(t.mean[:, 0], gradients[3:], rtol=1e-5)
    np.testing.assert_allclose(track(run.run, "train/loss").mean[:, 0], losses, rtol=1e-6)


def test_by_hand_updates_are_measured(watching):
    weight = torch.ones(4, requires_grad=True)
    with watching() as run:
        for _ in range(12):
            weight.sum().backward()
            with torch.no_grad():
                weight *= 0.9
            weight.grad = None
    ratios = [row[0] for _, row in rows(run.run, "update_ratio")]
    assert ratios
    assert ratios == pytest.approx([0.1] * len(ratios), rel=1e-4)


class OwnOptimizer:
    """Adam's little brother, no torch.optim.Optimizer."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr = list(parameters), lr

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        with torch.no_grad():
            for p in self.parameters:
                p.add_(p.grad, alpha=-self.lr)


def test_an_own_optimizer_class(watching):
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    optimizer = OwnOptimizer(model.parameters(), 0.01)
    gradients = []
    with watching() as run:
        for _ in range(8):
            optimizer.zero_grad()
            loss_of(model).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            gradients.append(sorted(gradient_norms(model.parameters())))
            optimizer.step()
    t = track(run.run, "gradient_norm")
    assert sorted(run.run.parameters[id].name for id in t.columns) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    np.testing.assert_allclose(np.sort(t.mean, axis=1), gradients[3:], rtol=1e-5)
    assert all(not clip.after_step for clip in run.run.clips.values())


def test_clipping_that_begins_late_by_hand_is_in_time(watching):
    weight = torch.ones(4, requires_grad=True)
    with watching() as run:
        for i in range(8):
            weight.sum().backward()
            if i > 5:
                torch.nn.utils.clip_grad_norm_([weight], 1.0)
            weight.data.add_(weight.grad, alpha=-0.01)
            weight.grad = None
    assert [clip.after_step for clip in run.run.clips.values()] == [False]


def test_an_optimizer_after_a_warm_up_by_hand(watching):
    model = nn.Linear(2, 1)
    with watching() as run:
        for _ in range(6):
            loss_of(model).backward()
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-0.01)
                p.grad = None
        optimizer = sgd(model)
        for _ in range(3):
            step(optimizer, model)
    by_class = {o.class_name: o.id for o in run.run.optimizers.values()}
    assert steps_of(run.run, by_class["SGD"]) == [4, 5, 6]
    assert steps_of(run.run, by_class[""]) == [1, 2, 3, 4]  # the last backward call was the optimizer's, in truth


def test_sharpness_aware_minimisation(watching):
    """Two backward calls a step: at the weights, then at weights moved uphill by hand."""
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    expected = []
    with watching(optimizer) as run:
        for _ in range(4):
            optimizer.zero_grad()
            loss_of(model).backward()
            moves = [0.05 * p.grad for p in model.parameters()]
            with torch.no_grad():
                for p, move in zip(model.parameters(), moves, strict=True):
                    p.add_(move)
            optimizer.zero_grad()
            loss_of(model).backward()
            with torch.no_grad():
                for p, move in zip(model.parameters(), moves, strict=True):
                    p.sub_(move)
            expected.append(gradient_norms(model.parameters()))
            optimizer.step()
    assert_rows(track(run.run, "gradient_norm"), expected)
    assert [row[:2] for _, row in rows(run.run, "step")] == [[2.0, 0.0]] * 4


def test_an_unfollowed_model_first(watching):
    """Its backward calls must not be taken for an update by hand of the model that is watched."""
    other, model = nn.Linear(2, 1), nn.Linear(2, 1)
    other_optimizer, optimizer = sgd(other), sgd(model)
    with watching(model) as run:
        for _ in range(8):
            step(other_optimizer, other)
        for _ in range(3):
            step(optimizer, model)
    assert run.run.steps == 3
    assert len(run.run.tracks("gradient_norm")) == 1


def test_seconds_of_a_step_leave_out_our_own(watching, monkeypatch):
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    with watching() as run:
        for _ in range(3):
            step(optimizer, model)
    seconds = [row[2] for _, row in rows(run.run, "step")]
    assert all(s >= 0 and math.isfinite(s) for s in seconds)
