"""Gradients that are handed back to the script instead of left in `.grad`."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, grad_and_value, vmap

from vivavoce.examine.verdict import examine

from .reading import gradient_norms, rows, track


def _problem():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    x = torch.randn(64, 4)
    return model, x, x.sum(1, keepdim=True)


def _norms(gradients):
    return [gradient.norm().item() for gradient in gradients]


def test_weights_changed_by_hand(watching):
    model, x, y = _problem()
    weights = list(model.parameters())
    losses, gradients = [], []
    with watching() as run:
        for _ in range(12):
            loss = (model(x) - y).square().mean()
            given = torch.autograd.grad(loss, weights)
            losses.append(loss.item())
            gradients.append(_norms(given))
            for weight, gradient in zip(weights, given, strict=True):
                weight.data.sub_(gradient, alpha=0.1)
    assert run.run.steps == 9  # three changes have to be seen first
    names = [run.run.parameters[id].name for id in track(run.run, "gradient_norm").columns]
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    np.testing.assert_allclose(track(run.run, "gradient_norm").mean, gradients[3:], rtol=1e-5)
    np.testing.assert_allclose(track(run.run, "train/loss").mean[:, 0], losses[4:], rtol=1e-6)


def test_an_optimizer_that_is_fed(watching):
    model, x, y = _problem()
    optimizer = torch.optim.Adam(model.parameters())
    weights = list(model.parameters())
    losses, gradients = [], []
    with watching() as run:
        for _ in range(6):
            loss = (model(x) - y).square().mean()
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.grad = gradient
            losses.append(loss.item())
            gradients.append(gradient_norms(model.parameters()))
            optimizer.step()
    np.testing.assert_allclose(track(run.run, "gradient_norm").mean, gradients, rtol=1e-5)
    np.testing.assert_allclose(track(run.run, "train/loss").mean[:, 0], losses[1:], rtol=1e-6)
    calls_and_stale = [row[:2] for _, row in rows(run.run, "step")]
    assert all(stale == 0 for _, stale in calls_and_stale), "gradients that are set anew are not left over"
    assert [calls for calls, _ in calls_and_stale[1:]] == [1] * 5


@pytest.mark.parametrize("with_value", [True, False])
def test_a_transformed_function(watching, with_value):
    model, x, y = _problem()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def objective(weights, x, y):
        return (functional_call(model, weights, (x,)) - y).square().mean()

    losses, gradients, ratios = [], [], []
    with watching() as run:
        for _ in range(12):
            losses.append(objective(weights, x, y).item())
            if with_value:
                given, _ = grad_and_value(objective)(weights, x, y)
            else:
                given = grad(objective)(weights, x, y)
            gradients.append(_norms(given.values()))
            ratios.append([(0.1 * given[name].norm() / weights[name].norm()).item() for name in weights])
            weights = {name: weight - 0.1 * given[name] for name, weight in weights.items()}
    names = [run.run.parameters[id].name for id in track(run.run, "gradient_norm").columns]
    assert names == list(weights)
    np.testing.assert_allclose(track(run.run, "gradient_norm").mean, gradients[3:], rtol=1e-5)
    np.testing.assert_allclose(track(run.run, "train/loss").mean[:, 0], losses[4:], rtol=1e-5)
    measured = rows(run.run, "update_ratio")
    assert measured
    for step, row in measured:  # the change before this step; the first step is that of the fourth gradient
        assert row == pytest.approx(ratios[step + 1], rel=1e-3)


def test_gradients_that_train_nothing_are_no_training(watching):
    model, x, _ = _problem()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def output(weights, x):
        return functional_call(model, weights, (x[None],))[0, 0]

    with watching() as run:
        for row in x[:10]:
            torch.autograd.grad(model(row[None]).sum(), list(model.parameters()))  # a tangent kernel's row
            vmap(grad(output), in_dims=(None, 0))(weights, x[:3])
            point = row.clone().requires_grad_()
            torch.autograd.grad(model(point[None]).sum(), point)
    assert run.run is None or run.run.steps == 0


def test_beside_backward_they_are_none_of_the_trainings_losses(watching):
    model, x, y = _problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    with watching() as run:
        for _ in range(8):
            torch.autograd.grad((model(x) - y).abs().mean(), list(model.parameters()))
            loss = (model(x) - y).square().mean()
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert run.run.steps == 8
    assert [row[0] for _, row in rows(run.run, "step")][1:] == [1] * 7
    np.testing.assert_allclose(track(run.run, "train/loss").mean[:, 0], losses, rtol=1e-6)


def test_inner_steps_before_the_first_backward_are_no_training(watching):
    """A first-order inner loop: fast weights move, the model's own do not until the outer backward call."""
    model, x, y = _problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watching() as run:
        for _ in range(6):
            fast = dict(model.named_parameters())
            for _ in range(3):
                loss = (functional_call(model, fast, (x,)) - y).square().mean()
                given = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
                fast = {name: w - 0.01 * g for (name, w), g in zip(fast.items(), given, strict=True)}
            optimizer.zero_grad()
            (functional_call(model, fast, (x,)) - y).square().mean().backward()
            optimizer.step()
    assert run.run.steps == 6
    assert [o.class_name for o in run.run.optimizers.values()] == ["SGD"]


def test_where_no_loss_is_seen_nobody_says_that_all_is_well(watching):
    """An evolution strategy: the optimizer steps on gradients that no graph has made."""
    model, *_ = _problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watching() as run, torch.no_grad():
        for _ in range(60):
            for weight in model.parameters():
                weight.grad = torch.randn_like(weight)
            optimizer.step()
    verdict = examine(run.run)
    assert (verdict.outcome, verdict.findings) == ("unknown", ())
    assert verdict.reason.startswith("No loss was seen in 60 steps")
