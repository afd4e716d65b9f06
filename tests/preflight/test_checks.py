"""Each check on a training that it should pass and on one that it should not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.preflight.flights import fly
from vivavoce.report.build import build_report
from vivavoce.report.preflight import table

NAMES = [
    "first-loss",
    "parameters-in-optimizer",
    "gradients-arrive",
    "parameters-move",
    "units-differ",
    "learning-rate",
    "overfits-one-batch",
    "uses-its-input",
    "train-eval-parity",
]


class Net(nn.Module):
    def __init__(self, classes=4, **spoiled):
        super().__init__()
        self.first = nn.Linear(10, 32)
        self.norm = nn.BatchNorm1d(32, momentum=spoiled.get("momentum", 0.1))
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(32, classes)
        self.blind = spoiled.get("blind", False)

    def forward(self, x):
        if self.blind:
            x = x * 0
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


def training(model, optimizer=None, rate=3e-3, steps=40, wrap=lambda loss: loss, shift=0.0):
    """A loop over fresh batches whose classes can be told by a linear rule."""
    rule = torch.randn(10, 4)

    def train():
        made = optimizer() if optimizer else torch.optim.Adam(model.parameters(), rate)
        for _ in range(steps):
            x = torch.randn(48, 10)
            y = (x @ rule).argmax(1)
            loss = wrap(F.cross_entropy(model(x + shift), y))
            made.zero_grad()
            loss.backward()
            made.step()

    return train


def test_a_sound_training_passes_every_check(tmp_path):
    flight = fly(training(Net()), tmp_path)
    assert flight.stopped
    assert not flight.faults
    assert list(flight.checks) == NAMES
    assert {check["status"] for check in flight.checks.values()} == {"ok"}
    assert flight.outcome.verdict.outcome == "healthy"
    assert flight.outcome.run.steps == 20


def test_first_loss_is_held_against_chance(tmp_path):
    model = Net()
    with torch.no_grad():
        model.last.weight *= 300
    flight = fly(training(model), tmp_path)
    check = flight.checks["first-loss"]
    assert check["status"] == "failed"
    assert check["slug"] == "activation-scale"
    assert check["numbers"]["chance level"] == pytest.approx(math.log(4))


def test_parameters_without_an_optimizer(tmp_path):
    model = Net()
    flight = fly(training(model, lambda: torch.optim.Adam(model.last.parameters(), 1e-2)), tmp_path)
    check = flight.checks["parameters-in-optimizer"]
    assert check["status"] == "failed"
    assert check["numbers"]["left out"] == 4  # two of the first layer, two of the norm
    assert "parameters-not-optimized" in flight.slugs


def test_parameters_without_a_gradient(tmp_path):
    model = Net()
    model.spare = nn.Linear(40, 40)
    flight = fly(training(model), tmp_path)
    assert flight.checks["gradients-arrive"]["numbers"]["left out"] == 2
    assert flight.status("gradients-arrive") == "failed"
    assert "spare.weight" in flight.checks["gradients-arrive"]["why"]


def test_parameters_that_do_not_move(tmp_path):
    model = Net()
    flight = fly(training(model, lambda: torch.optim.SGD(model.parameters(), lr=0.0)), tmp_path)
    assert flight.status("parameters-move") == "failed"
    assert flight.status("learning-rate") == "unchecked"


def test_units_that_start_alike(tmp_path):
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 4))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.05)
    flight = fly(training(model), tmp_path)
    assert flight.status("units-differ") == "failed"
    assert flight.checks["units-differ"]["layer"] == "0"
    assert "symmetric-weights" in flight.slugs


def test_a_learning_rate_that_is_too_high(tmp_path):
    model = Net()
    flight = fly(training(model, lambda: torch.optim.SGD(model.parameters(), lr=300.0)), tmp_path)
    check = flight.checks["learning-rate"]
    assert check["status"] == "failed"
    assert check["numbers"]["to"] < 300
    assert "learning-rate-too-high" in flight.slugs


def test_a_learning_rate_that_is_too_low(tmp_path):
    flight = fly(training(Net(), rate=1e-8), tmp_path)
    check = flight.checks["learning-rate"]
    assert check["slug"] == "learning-rate-too-low"
    assert check["numbers"]["from"] > 1e-8
    assert flight.status("overfits-one-batch") == "ok"  # at the best rate of the range


def test_the_goal_of_a_warm_up_is_the_learning_rate(tmp_path):
    model = Net()

    def optimizer():
        made = torch.optim.Adam(model.parameters(), 3e-3)
        torch.optim.lr_scheduler.LinearLR(made, 1e-6, total_iters=10_000)
        return made

    flight = fly(training(model, optimizer), tmp_path)
    assert flight.checks["learning-rate"]["numbers"]["learning rate"] == pytest.approx(3e-3)
    assert flight.status("learning-rate") == "ok"


def test_a_model_that_is_blind_to_its_input(tmp_path):
    flight = fly(training(Net(blind=True)), tmp_path)
    check = flight.checks["uses-its-input"]
    assert check["status"] == "failed"
    assert check["slug"] == "guessing"
    assert check["numbers"]["loss"] == check["numbers"]["loss with zeroed inputs"]
    assert flight.status("overfits-one-batch") != "ok"


def test_running_statistics_that_never_settle(tmp_path):
    flight = fly(training(Net(momentum=1e-6), shift=30.0), tmp_path)
    check = flight.checks["train-eval-parity"]
    assert check["status"] == "suspicious"
    assert check["layer"] == "norm"
    assert "train-eval-mismatch" in flight.slugs


def test_training_in_evaluation_mode(tmp_path):
    flight = fly(training(Net().eval()), tmp_path)
    assert flight.checks["train-eval-parity"]["slug"] == "train-eval-mismatch"


def test_dropout_alone_is_no_mismatch(tmp_path):
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.7), nn.Linear(64, 4))
    flight = fly(training(model), tmp_path)
    check = flight.checks["train-eval-parity"]
    assert check["status"] == "ok"
    assert check["numbers"]["without dropout"] == check["numbers"]["loss in evaluation mode"]


def test_a_compiled_model_is_not_tried_out(tmp_path):
    model = Net()
    compiled = torch.compile(model, backend="eager")
    flight = fly(training(compiled, lambda: torch.optim.Adam(model.parameters(), 1e-3)), tmp_path)
    assert flight.status("overfits-one-batch") == "unchecked"
    assert "compiled" in flight.checks["overfits-one-batch"]["why"]
    assert flight.status("parameters-move") == "ok"


def test_a_model_that_cannot_be_copied(tmp_path):
    class Unique:
        def __deepcopy__(self, memo):
            raise TypeError("there is only one")

    model = Net()
    model.treasure = Unique()
    flight = fly(training(model), tmp_path)
    assert flight.status("learning-rate") == "unchecked"
    assert "cannot be copied" in flight.checks["learning-rate"]["why"]
    assert not flight.faults


def test_models_and_optimizers_that_were_there_before(tmp_path):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    flight = fly(training(model, lambda: optimizer), tmp_path)
    assert {check["status"] for check in flight.checks.values()} == {"ok"}


def test_a_script_that_ends_early_is_checked_at_its_end(tmp_path):
    flight = fly(training(Net(), steps=3), tmp_path)
    assert not flight.stopped
    assert flight.status("overfits-one-batch") == "ok"


def test_several_parts_and_terms_of_a_loss(tmp_path):
    """An encoder and a decoder called one after the other, noise between them, a penalty on the weights, a scaled loss."""
    encoder, decoder = nn.Linear(10, 6), nn.Linear(3, 10)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)

    def train():
        for _ in range(25):
            x = torch.randn(32, 10)
            mean, log_variance = encoder(x).chunk(2, dim=1)
            code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
            divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
            loss = F.mse_loss(decoder(code), x) + 1e-3 * divergence
            for parameter in decoder.parameters():
                loss = loss + 1e-4 * parameter.square().sum()
            optimizer.zero_grad()
            (loss / 2).backward()
            optimizer.step()

    flight = fly(train, tmp_path)
    assert flight.status("learning-rate") == "ok"
    assert flight.status("overfits-one-batch") == "ok"
    assert flight.status("uses-its-input") == "ok"


def test_two_players_are_not_judged_by_one_batch(tmp_path):
    one, two = nn.Linear(4, 4), nn.Linear(4, 1)
    first, second = torch.optim.Adam(one.parameters()), torch.optim.Adam(two.parameters())

    def train():
        for _ in range(25):
            made = one(torch.randn(16, 4))
            second.zero_grad()
            (F.softplus(two(made.detach())) + F.softplus(-two(torch.randn(16, 4)))).mean().backward()
            second.step()
            first.zero_grad()
            F.softplus(-two(made)).mean().backward()
            first.step()

    flight = fly(train, tmp_path)
    assert flight.status("overfits-one-batch") == "unchecked"
    assert flight.status("gradients-arrive") == "ok"


def test_the_report_holds_the_table(tmp_path):
    flight = fly(training(Net()), tmp_path)
    report = build_report(flight.outcome.run, flight.outcome.verdict)
    lines = table(report["preflight"])
    assert len(lines) == 1 + len(NAMES)
    assert all(name in line for name, line in zip(NAMES, lines[1:], strict=True))
