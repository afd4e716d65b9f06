"""The graph of the loss: what it reaches, the lines that made it, growth through time."""

import math

import pytest
import torch
from torch import nn

from vivavoce.attach import graph
from vivavoce.attach.graph import growth

from .reading import line_here, rows


def sgd(model, lr=0.01):
    return torch.optim.SGD(model.parameters(), lr=lr)


def reach(run):
    return {p.name: p.reached for p in run.parameters.values()}


class Parts(nn.Module):
    def __init__(self, detached):
        super().__init__()
        self.body, self.head, self.unused = nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 3)
        self.detached = detached

    def forward(self, x):
        y = self.body(x)
        return self.head(y.detach() if self.detached else y)


@pytest.mark.parametrize("detached", [False, True])
def test_reached_and_unreached_parameters(watching, detached):
    model = Parts(detached)
    optimizer = sgd(model)
    with watching(model, optimizer) as run:
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).mean().backward()
            optimizer.step()
    wanted = {"body": not detached, "head": True, "unused": False}
    assert reach(run.run) == {f"{k}.{part}": v for k, v in wanted.items() for part in ("weight", "bias")}


def test_frozen_parameters_are_not_called_unreached(watching):
    model = Parts(False)
    model.unused.requires_grad_(False)
    optimizer = sgd(model)
    with watching(model, optimizer) as run:
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).mean().backward()
            optimizer.step()
    assert reach(run.run)["unused.weight"] is None


def test_a_second_model_is_reached_later(watching):
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    first_optimizer, second_optimizer = sgd(first), sgd(second)
    with watching(first, second) as run:
        for model, optimizer in ((first, first_optimizer), (second, second_optimizer)):
            for _ in range(7):
                optimizer.zero_grad()
                model(torch.randn(4, 2)).mean().backward()
                optimizer.step()
    assert set(reach(run.run).values()) == {True}


def test_a_graph_too_large_is_not_judged(watching, monkeypatch):
    monkeypatch.setattr(graph, "MOST_NODES", 20)
    model = Parts(False)
    optimizer = sgd(model)
    with watching(model, optimizer) as run:
        for _ in range(6):
            optimizer.zero_grad()
            y = model(torch.randn(4, 3))
            for _ in range(40):
                y = y * 1.01
            y.mean().backward()
            optimizer.step()
    assert False not in reach(run.run).values()
    assert run.run.events("unreached") == []


def test_source_lines_of_operations(watching):
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with watching(optimizer) as run:
        optimizer.zero_grad()
        here = line_here()
        hidden = torch.exp(weight)
        hidden = torch.sin(hidden)
        hidden.sum().backward()
        optimizer.step()
    lines = {node.op: (node.site.line - here, node.code) for node in run.run.nodes.values()}
    assert lines == {
        "ExpBackward0": (1, "hidden = torch.exp(weight)"),
        "SinBackward0": (2, "hidden = torch.sin(hidden)"),
        "SumBackward0": (3, "hidden.sum().backward()"),
    }
    assert {node.site.file for node in run.run.nodes.values()} == {__file__}


class WithVariable(torch.autograd.Function):
    """A user's operation that keeps something under the name that autograd's leaves have."""

    @staticmethod
    def forward(ctx, x):
        ctx.variable = 3
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def test_an_own_function_with_a_variable(watching):
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    with watching(model, optimizer) as run:
        for _ in range(3):
            optimizer.zero_grad()
            WithVariable.apply(model(torch.randn(4, 2))).mean().backward()
            optimizer.step()
    assert set(reach(run.run).values()) == {True}


def test_anomaly_mode_is_the_scripts_own(watching):
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    with watching(model, optimizer):
        with torch.autograd.set_detect_anomaly(True):
            for _ in range(2):
                optimizer.zero_grad()
                model(torch.randn(4, 2)).mean().backward()
                optimizer.step()
            assert torch.is_anomaly_check_nan_enabled()
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(4, 2)).mean().backward()
            optimizer.step()
        assert not torch.is_anomaly_enabled()
    with torch.autograd.set_detect_anomaly(True):
        with watching(model, optimizer):
            assert torch.is_anomaly_check_nan_enabled()
        assert torch.is_anomaly_check_nan_enabled()


# growth through time ------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A recurrent network written out, h ← f(W h + x), so that nothing is fused."""

    def __init__(self, weight, f):
        super().__init__()
        self.f = f
        self.weight_hh = nn.Parameter(weight)

    def forward(self, inputs):
        hidden, states = torch.ones_like(inputs[0]), []
        for x in inputs:
            hidden = self.f(hidden @ self.weight_hh.T + x)
            states.append(hidden)
        return states


@pytest.mark.parametrize("rate", [1.02, 1.05, 1.1])
def test_growth_of_a_relu_recurrence(watching, rate):
    """With W = ρI and positive states every step multiplies the gradient by ρ (closed form)."""
    model = Recurrent(rate * torch.eye(8), torch.relu)
    optimizer = sgd(model, 1e-9)
    with watching(model, optimizer) as run:
        model(torch.rand(60, 4, 8))[-1].mean().backward()
        optimizer.step()
    ((_, row),) = rows(run.run, "time_growth")
    assert row[0] == pytest.approx(rate, abs=1e-6)
    assert row[2] == pytest.approx(1.0, abs=1e-6)
    assert row[4] / row[3] == pytest.approx(rate ** row[1], rel=1e-4)
    (t,) = run.run.tracks("time_growth")
    assert run.run.parameters[t.owner[1]].name == "weight_hh"


def test_growth_of_a_random_tanh_recurrence(watching):
    """Against autograd in double precision, state by state."""
    torch.manual_seed(3)
    model = Recurrent(1.6 * torch.randn(16, 16) / 4, torch.tanh)
    optimizer, inputs = sgd(model, 1e-9), 0.3 * torch.randn(30, 4, 16)
    double = Recurrent(model.weight_hh.detach().double(), torch.tanh)
    states = double(inputs.double())
    norms = [g.norm().item() for g in torch.autograd.grad(states[-1].square().mean(), states)]
    slope = (
        torch.linalg.lstsq(
            torch.stack([torch.arange(30.0, dtype=torch.float64), torch.ones(30, dtype=torch.float64)], 1),
            torch.tensor(norms, dtype=torch.float64).log()[:, None],
        )
        .solution[0]
        .item()
    )
    with watching(model, optimizer) as run:
        model(inputs)[-1].square().mean().backward()
        optimizer.step()
    ((_, row),) = rows(run.run, "time_growth")
    assert row[0] == pytest.approx(math.exp(-slope), rel=0.01)


def test_growth_from_a_line():
    positions = list(range(0, 40, 3))
    row = growth(positions, [5.0 * 0.9**p for p in positions])
    assert row == pytest.approx((1 / 0.9, 39, 1.0, 5.0 * 0.9**39, 5.0))


@pytest.mark.parametrize("norms", [[1.0, 1.0, 1.0], [0.0] * 9, [math.nan] * 9, [math.inf] * 6 + [1.0] * 3])
def test_growth_of_too_little(norms):
    assert growth(list(range(len(norms))), norms) is None


def test_constant_norms_grow_by_one():
    assert growth([0, 1, 2, 3], [2.0] * 4)[:3] == (1.0, 3.0, 1.0)
