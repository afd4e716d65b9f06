"""Gradient norms, weights, updates and raw losses against clones taken by the test itself."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from .reading import assert_rows, gradient_norms, names, norm, rows, track

STEPS = 6


def small():
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))


def train(model, optimizer, loss_of, steps=STEPS):
    """Train; returns norms of gradients and of weights before each step, ‖Δw‖/‖w‖, and losses, taken at each step."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    seen = {"gradients": [], "weights": [], "ratios": [], "losses": []}
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        before = [p.detach().clone() for p in parameters]
        seen["gradients"].append(gradient_norms(parameters))
        seen["weights"].append([norm(p) for p in parameters])
        seen["losses"].append(loss.item())
        optimizer.step()
        seen["ratios"].append([_ratio(norm(p.detach() - b), norm(b)) for p, b in zip(parameters, before, strict=True)])
    return seen


def _ratio(change, weight):
    if weight == 0:
        return math.nan if change > 0 else 0.0
    return change / weight


def assert_weights(run, seen, rtol=1e-5, ratio_rtol=1e-3):
    """Weights and updates are compared from the second step on: what the first step finds decides what is sampled."""
    for signal, key, tolerance in (("weight_norm", "weights", rtol), ("update_ratio", "ratios", ratio_rtol)):
        found = track(run.run, signal)
        first = int(found.steps[0])
        assert first <= 2
        assert_rows(found, seen[key][first - 1 :], tolerance, steps=range(first, len(seen[key]) + 1))


def squares(model):
    return model(torch.randn(9, 5)).square().mean()


def test_dense_parameters(watching):
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    with watching(model, optimizer) as run:
        seen = train(model, optimizer, squares)
    gradients = track(run.run, "gradient_norm")
    assert names(run.run, gradients) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert_rows(gradients, seen["gradients"])
    assert_weights(run, seen)
    assert_rows(track(run.run, "train/loss"), [[v] for v in seen["losses"]], rtol=1e-7)


def test_sparse_embedding_with_repeated_rows(watching):
    model = nn.Embedding(6, 3, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        seen = train(model, optimizer, lambda m: m(torch.randint(6, (20,))).exp().sum())
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"])
    assert_weights(run, seen)


@pytest.mark.parametrize("conjugated", [False, True])
def test_complex_parameters(watching, conjugated):
    weight = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def loss(_):
        used = weight.conj() if conjugated else weight
        return (used @ torch.randn(3, 2, dtype=torch.complex64)).abs().square().mean()

    with watching() as run:
        seen = train(None, optimizer, loss)
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"])
    assert_weights(run, seen)


def test_bfloat16_parameters(watching):
    model = small().to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with watching() as run:
        seen = train(model, optimizer, lambda m: m(torch.randn(9, 5, dtype=torch.bfloat16)).square().mean())
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"], rtol=1e-4)
    assert_weights(run, seen, rtol=1e-4, ratio_rtol=0.02)


@pytest.mark.parametrize("other", [torch.float64, torch.float32, torch.complex64, torch.complex128])
def test_precisions_mixed_in_one_optimizer(watching, other):
    low, high = nn.Parameter(torch.randn(3, dtype=torch.bfloat16)), nn.Parameter(torch.randn(3, dtype=other))
    optimizer = torch.optim.SGD([low, high], lr=0.1, foreach=False)
    with watching() as run:
        seen = train(None, optimizer, lambda _: low.float().square().sum() + high.abs().square().sum())
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"], rtol=1e-4)


def test_a_parameter_without_gradient_is_minus_one(watching):
    used, unused = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))
    optimizer = torch.optim.SGD([unused, used], lr=0.1)
    with watching() as run:
        seen = train(None, optimizer, lambda _: used.square().sum())
    assert [row[0] for row in seen["gradients"]] == [-1.0] * STEPS
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"])


def test_all_gradients_missing(watching):
    weight = nn.Parameter(torch.randn(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with watching() as run:
        for _ in range(3):
            optimizer.step()
    assert_rows(track(run.run, "gradient_norm"), [[-1.0]] * 3)


def test_groups_and_their_learning_rates(watching):
    model = small()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    expected, before = [], None
    with watching() as run:
        for step in range(1, STEPS + 1):
            train(model, optimizer, squares, steps=1)
            rates = [group["lr"] for group in optimizer.param_groups]
            if rates != before:
                expected.append((step, rates))
            before = rates
            scheduler.step()
    assert rows(run.run, "learning_rate") == expected
    recorded = run.run.optimizers[0].groups
    assert [group["learning_rate"] for group in recorded] == [0.1, 0.01]
    assert [[run.run.parameters[p].name for p in group["parameters"]] for group in recorded] == [
        ["0.weight", "0.bias"],
        ["2.weight", "2.bias"],
    ]


def test_a_group_added_later(watching):
    model = small()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.01)
    with watching() as run:
        first = train(model, optimizer, squares, steps=3)
        optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.1})
        second = train(model, optimizer, squares, steps=3)
    narrow, wide = sorted(run.run.tracks("gradient_norm"), key=lambda t: len(t.columns))
    assert names(run.run, wide) == ["2.weight", "2.bias", "0.weight", "0.bias"]
    assert_rows(narrow, first["gradients"])
    assert_rows(wide, second["gradients"], steps=(4, 5, 6))
    assert [t.mean[0].tolist() for t in run.run.tracks("learning_rate")] == [[0.01], [0.01, 0.1]]


def test_lbfgs(watching):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    inputs, targets = torch.randn(20, 3), torch.randn(20, 1)
    gradients, losses = [], []

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        loss.backward()
        losses.append(loss.item())
        return loss

    with watching() as run:
        for _ in range(3):
            optimizer.step(closure)
            gradients.append(gradient_norms(model.parameters()))
    assert_rows(track(run.run, "gradient_norm"), gradients)
    assert [row[0] for _, row in rows(run.run, "train/loss")] == pytest.approx(losses)
    assert run.run.optimizers[0].closure


def test_adam_with_a_closure(watching):
    model, gradients = nn.Linear(3, 1), []
    optimizer = torch.optim.Adam(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = model(torch.randn(8, 3)).square().mean()
        loss.backward()
        return loss

    with watching() as run:
        for _ in range(4):
            optimizer.step(closure=closure)
            gradients.append(gradient_norms(model.parameters()))
    assert_rows(track(run.run, "gradient_norm"), gradients)
    assert run.run.steps == 4


def test_lazy_modules(watching):
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watching(model, optimizer) as run:
        model(torch.randn(2, 5))
        seen = train(model, optimizer, squares, steps=3)
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"])
    shapes = {p.name: p.shape for p in run.run.parameters.values()}
    assert shapes == {"0.weight": (4, 5), "0.bias": (4,), "2.weight": (1, 4), "2.bias": (1,)}


def test_tied_weights_are_named_once(watching):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(6, 4)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        seen = train(model, optimizer, lambda m: F.cross_entropy(m(torch.arange(6)), torch.arange(6)), steps=3)
    (parameter,) = run.run.parameters.values()
    assert (parameter.name, parameter.tied) == ("embed.weight", ("head.weight",))
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"])
    assert run.run.models[0].parameters == 24
    assert parameter.reached is True


def test_large_weights_are_sampled_without_bias(watching):
    model = nn.Linear(400, 300, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        seen = train(model, optimizer, lambda m: m(torch.randn(8, 400)).square().mean(), steps=3)
    assert_rows(track(run.run, "gradient_norm"), seen["gradients"])
    assert_weights(run, seen, rtol=0.03, ratio_rtol=0.1)


def test_a_weight_of_zeros_and_one_that_stays(watching):
    zero, frozen = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([zero, frozen], lr=0.1)
    with watching() as run:
        optimizer.step()
        zero.grad = torch.ones(3)
        optimizer.step()
    ratio = rows(run.run, "update_ratio")[-1][1]
    assert math.isnan(ratio[0])
    assert ratio[1] == 0.0


def test_a_nan_gradient_is_recorded_as_it_is(watching):
    good, bad = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([good, bad], lr=0.0)
    with watching() as run:
        good.grad, bad.grad = torch.tensor([3.0, 4.0]), torch.tensor([1.0, math.nan])
        optimizer.step()
    row = rows(run.run, "gradient_norm")[0][1]
    assert row[0] == pytest.approx(5.0)
    assert math.isnan(row[1])


@pytest.mark.parametrize("pieces", [2, 16])
def test_accumulation(watching, pieces):
    model = nn.Linear(5, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gradients, losses = [], []
    with watching(model, optimizer) as run:
        for _ in range(3):
            optimizer.zero_grad()
            for _ in range(pieces):
                loss = model(torch.randn(8, 5)).square().mean() / pieces
                losses.append(loss.item())
                loss.backward()
            gradients.append(gradient_norms(model.parameters()))
            optimizer.step()
    assert_rows(track(run.run, "gradient_norm"), gradients)
    assert_rows(track(run.run, "train/loss"), [[v] for v in losses], steps=np.repeat([1, 2, 3], pieces))
    assert [row[:2] for _, row in rows(run.run, "step")] == [[pieces, 0.0]] * 3


@pytest.mark.parametrize("kind", ["shape one", "complex", "keyword", "retained", "gradient given"])
def test_forms_of_backward(watching, kind):
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with watching() as run:
        for _ in range(2):
            optimizer.zero_grad()
            loss = weight.square() * 1.5
            if kind == "shape one":
                loss.backward()
            elif kind == "complex":
                torch.autograd.backward([loss, weight * 2])
            elif kind == "keyword":
                torch.autograd.backward(tensors=loss)
            elif kind == "retained":
                loss.backward(retain_graph=True)
            else:
                torch.stack([loss, loss + 1]).backward(torch.ones(2, 1))
            optimizer.step()
    expected = 6.5 if kind == "gradient given" else 6.0
    assert [row for _, row in rows(run.run, "train/loss")] == [[pytest.approx(expected)]] * 2


def test_gradient_edges_are_no_loss(watching):
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with watching() as run:
        for _ in range(2):
            edge = torch.autograd.graph.get_gradient_edge(weight.square())
            torch.autograd.backward(edge, torch.ones(1))
            optimizer.step()
    assert run.run.steps == 2


def test_meta_tensors_do_no_harm(watching):
    model = nn.Linear(3, 1, device="meta")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(torch.randn(4, 3, device="meta")), torch.randn(4, 1, device="meta")).backward()
            optimizer.step()
    assert run.run.steps == 3


# gradient scaling -------------------------------------------------------------------------------------------------------


def scaled_training(model, optimizer, scaler, losses_of, steps=3):
    losses, gradients = [], []
    for step in range(steps):
        optimizer.zero_grad()
        loss = losses_of(step)
        losses.append(loss.item())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        gradients.append(gradient_norms(model.parameters()))
        scaler.step(optimizer)
        scaler.update()
    return losses, gradients


def test_scaler_raw_loss_and_unscaled_gradients(watching):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with watching() as run:
        losses, gradients = scaled_training(
            model, optimizer, scaler, lambda _: model(torch.randn(8, 4)).square().mean()
        )
    assert_rows(track(run.run, "train/loss"), [[v] for v in losses], rtol=1e-6)
    assert_rows(track(run.run, "gradient_norm"), gradients)
    assert run.run.events("scaler-skip") == []


def test_scaler_skips(watching):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    with watching() as run:
        scaled_training(
            model,
            optimizer,
            scaler,
            lambda step: model(torch.randn(8, 4)).square().mean() * (math.inf if step in (0, 2) else 1.0),
            steps=4,
        )
    events = run.run.events("scaler-skip")
    assert [event.data["scale"] for event in events] == [64.0, 32.0]
    assert run.run.steps == 2


def test_scaler_of_several_losses(watching):
    weight = nn.Parameter(torch.tensor(3.0))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with watching() as run:
        for _ in range(2):
            first, second = scaler.scale(weight * 2), scaler.scale(weight * 5)
            first.backward()
            second.backward()
            for part in scaler.scale([weight * 7]):
                part.backward()
            scaler.step(optimizer)
            scaler.update()
    values = sorted(row[0] for t in run.run.tracks("train/loss") for row in t.mean)
    assert values == [6.0, 6.0, 15.0, 15.0, 21.0, 21.0]


def test_scaler_of_an_optimizer_that_is_not_followed(watching):
    watched, other = nn.Linear(2, 1), nn.Linear(2, 1)
    optimizer, foreign = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (watched, other))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with watching(watched, optimizer) as run:
        scaled_training(other, foreign, scaler, lambda _: other(torch.randn(4, 2)).square().mean())
        scaled_training(watched, optimizer, scaler, lambda _: watched(torch.randn(4, 2)).square().mean())
    assert run.run.events("scaler-skip") == []
    assert run.run.steps == 3


def test_a_disabled_scaler(watching):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    losses = []
    with watching() as run:
        for _ in range(3):
            loss = model(torch.randn(8, 4)).square().mean()
            losses.append(loss.item())
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert_rows(track(run.run, "train/loss"), [[v] for v in losses], rtol=1e-6)
    assert run.run.events("scaler-skip") == []
