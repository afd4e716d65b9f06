"""What went wrong when numbers are no longer finite: operation, layer and line, or an honest silence."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from .reading import line_here

LINE = {}


class Net(nn.Module):
    """`operation` stands between two layers; its line is noted."""

    def __init__(self, operation):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)
        self.operation = operation

    def forward(self, x):
        hidden = self.first(x)
        LINE["here"] = line_here(1)
        hidden = self.operation(hidden)
        return self.second(hidden)


def failures(watching, model, make_loss=None, steps=3, at=2):
    """The non-finite events of a training whose step `at` is the first to go wrong."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watching(model, optimizer) as run:
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            make_loss(model, step >= at).backward()
            optimizer.step()
    return run.run.events("non-finite"), run.run


def through(model, wrong):
    model.wrong = wrong
    return model(torch.randn(8, 3)).square().mean()


def where(event):
    return event.data.get("file"), event.data.get("line")


GRADIENTS = {
    "sqrt(0)": (lambda h, wrong: torch.sqrt(F.relu(h) * (0.0 if wrong else 1.0) + (0.0 if wrong else 1.0)), "Sqrt"),
    "norm of zero": (
        lambda h, wrong: h / h.shape[1] + (h * (0.0 if wrong else 1.0)).pow(2).sum(1, keepdim=True).sqrt(),
        "Sqrt",
    ),
    "where": (
        lambda h, wrong: torch.where(h * 0 == 0, h, torch.sqrt(h * 0.0 + (0.0 if wrong else 1.0))),
        "Sqrt",
    ),
    "power": (lambda h, wrong: (h * 0.0 + (0.0 if wrong else 1.0)) ** 0.5, "Pow"),
    "acos": (lambda h, wrong: torch.acos(h * 0.0 + (1.0 if wrong else 0.5)), "Acos"),
    "acosh": (lambda h, wrong: torch.acosh(h * 0.0 + (1.0 if wrong else 2.0)), "Acosh"),
    "hypot": (lambda h, wrong: torch.hypot(h * 0.0 + (0.0 if wrong else 1.0), h * 0.0), "Hypot"),
}


@pytest.mark.parametrize("fault", GRADIENTS)
def test_singular_derivatives(watching, fault):
    function, stem = GRADIENTS[fault]
    model = Net(None)
    model.operation = lambda h: function(h, model.wrong)
    events, _ = failures(watching, model, through)
    event = events[0]
    assert (event.data["what"], event.step, event.data["finite_before"]) == ("gradient", 2, True)
    assert event.data["op"].startswith(stem)
    assert event.data["layer"] == "first"
    assert event.data["file"] == __file__
    assert event.data["value"] in ("nan", "inf")


@pytest.mark.parametrize("operation", [lambda h: h.norm(dim=1, keepdim=True), lambda h: h.std(1, keepdim=True)])
def test_no_false_alarm_where_pytorch_defines_the_derivative(watching, operation):
    """The norm of a zero vector and the deviation of equal values have a subgradient of 0."""
    model = Net(lambda h: h + operation(h * (0.0 if model.wrong else 1.0)))
    events, _ = failures(watching, model, through)
    assert events == []


FORWARD = {
    "log(0)": (lambda h, wrong: torch.log(h * 0.0 + (0.0 if wrong else 1.0)), "Log"),
    "log of a negative": (lambda h, wrong: torch.log(h * 0.0 + (-1.0 if wrong else 1.0)), "Log"),
    "division by zero": (lambda h, wrong: h / (h * 0.0 + (0.0 if wrong else 1.0)), "Div"),
    "exp overflow": (lambda h, wrong: torch.exp(h * 0.0 + (1000.0 if wrong else 1.0)), "Exp"),
}


@pytest.mark.parametrize("fault", FORWARD)
def test_operations_that_break_the_loss(watching, fault):
    function, stem = FORWARD[fault]
    model = Net(None)
    model.operation = lambda h: function(h, model.wrong)
    events, _ = failures(watching, model, through)
    event = events[0]
    assert (event.data["what"], event.step, event.data["finite_before"]) == ("loss", 2, True)
    assert event.data["op"].startswith(stem)
    assert event.data["layer"] == "first"
    assert event.data["file"] == __file__
    assert event.data["code"].lstrip().startswith("model.operation = lambda") or event.data["line"]


def test_the_line_is_the_operations_own(watching):
    def operation(h):
        LINE["log"] = line_here(1)
        return torch.log(h * 0.0 + (0.0 if model.wrong else 1.0))

    model = Net(operation)
    events, _ = failures(watching, model, through)
    assert where(events[0]) == (__file__, LINE["log"])
    assert events[0].data["code"] == "return torch.log(h * 0.0 + (0.0 if model.wrong else 1.0))"


def test_nan_in_the_input(watching):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))

    def loss(model, wrong):
        x = torch.randn(8, 3)
        if wrong:
            x[0, 0] = math.nan
        return model(x).square().mean()

    events, _ = failures(watching, model, loss)
    assert events[0].data["what"] == "input"
    assert events[0].data["layer"] == "0"
    assert events[0].step == 2


def test_nan_in_the_target(watching):
    model = nn.Linear(3, 1)

    def loss(model, wrong):
        return F.mse_loss(model(torch.randn(8, 3)), torch.full((8, 1), math.nan if wrong else 0.0))

    events, _ = failures(watching, model, loss)
    assert events[0].data["what"] == "input"
    assert "target" in events[0].data["detail"]
    assert events[0].data["op"] == "MseLossBackward0"
    assert events[0].data["file"] == __file__


def test_weights_that_are_nan_already(watching):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))

    def loss(model, wrong):
        if wrong:
            with torch.no_grad():
                model[1].weight[0, 0] = math.nan
        return model(torch.randn(8, 3)).mean()

    events, run = failures(watching, model, loss)
    assert events[0].data["what"] == "weight"
    assert [run.parameters[id].name for id in events[0].data["parameters"]] == ["1.weight"]


def test_a_norm_that_overflows_although_every_entry_is_finite(watching):
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with watching(optimizer) as run:
        for scale in (1.0, 3e38):
            optimizer.zero_grad()
            (weight * (scale / 10)).sum().backward()
            weight.grad.mul_(10)
            optimizer.step()
    (event,) = run.run.events("non-finite")
    assert (event.data["what"], event.data["value"]) == ("gradient", "overflow")


def test_a_failure_without_a_graph_says_nothing_more(watching):
    """The gradient is broken by hand: no operation is to blame."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watching(model, optimizer) as run:
        for step in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 2)).mean().backward()
            if step == 1:
                model.weight.grad[0, 0] = math.nan
            optimizer.step()
    event = run.run.events("non-finite")[0]
    assert event.data["what"] == "gradient"
    assert [run.run.parameters[id].name for id in event.data["parameters"]] == ["weight"]
    assert "op" not in event.data


def test_only_the_first_events_are_recorded(watching):
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with watching(optimizer) as run:
        for _ in range(30):
            optimizer.zero_grad()
            (weight * math.nan).sum().backward()
            optimizer.step()
    events = run.run.events("non-finite")
    assert 1 <= len(events) <= 20
    assert [event.data["finite_before"] for event in events] == [True] + [False] * (len(events) - 1)
