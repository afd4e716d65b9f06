"""The user's rules, held against what loss functions are given; NumPy counts what it should be."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import vivavoce
from vivavoce.testing.taps import take_everything

from .reading import rows


def watched(tmp_path, rules, train):
    run = vivavoce.watch(budget=0.5, directory=tmp_path, rules=rules).start()
    take_everything(run._session)
    train()
    run.stop()
    assert run._session.faults == []
    return run.run


def regression(inputs, targets, outputs, validation=None, after=None):
    """Two steps of SGD on one batch, with the predictions of each kept."""
    model = nn.Linear(inputs.shape[1], outputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def train():
        for _ in range(2):
            model.train()
            optimizer.zero_grad()
            predictions = model(inputs)
            after.append(predictions.detach().numpy().copy())
            F.mse_loss(predictions, targets).backward()
            optimizer.step()
            if validation is not None:
                model.eval()
                with torch.no_grad():
                    F.mse_loss(model(validation), targets[: len(validation)])

    return model, train


def entity(run, text):
    (found,) = [rule for rule in run.rules.values() if rule.text == text and not rule.unfit]
    return found


def test_counts_are_those_of_numpy(tmp_path):
    inputs, targets, seen = torch.randn(40, 3), torch.randn(40, 2), []
    rules = [
        "prediction[0] > prediction[1]",
        "prediction[1] <= input[2] + 0.1",
        "-1 <= prediction <= 0.5",
        "sum(prediction) > 0",
    ]
    _, train = regression(inputs, targets, 2, after=seen)
    run = watched(tmp_path, rules, train)
    x, y = inputs.numpy(), targets.numpy()

    def expected(p, t):
        gaps = [p[:, 0] - p[:, 1], x[:, 2] + 0.1 - p[:, 1], np.minimum(p + 1, 0.5 - p), p.sum(1)]
        return gaps, [t[:, 0] - t[:, 1], x[:, 2] + 0.1 - t[:, 1], np.minimum(t + 1, 0.5 - t), t.sum(1)]

    for index, text in enumerate(rules):
        found = rows(run, "rule", ("rule", entity(run, text).id))
        first = 2 if "input" in text else 1  # the model is known from its first step on
        assert [step for step, _ in found] == [1, 2][first - 1 :]
        for (_, row), predictions in zip(found, seen[first - 1 :], strict=True):
            own, of_targets = expected(predictions, y)
            assert row[0] == np.sum(own[index] < 0)
            assert row[1] == own[index].size
            assert row[2] == pytest.approx(max(0.0, -own[index].min()), abs=1e-5)
            assert row[3] == np.sum(of_targets[index] < 0)
            assert row[4] == of_targets[index].size


def test_validation_is_told_apart(tmp_path):
    inputs, seen = torch.randn(40, 3), []
    model, train = regression(inputs, torch.randn(40, 1), 1, validation=inputs[:7], after=seen)
    run = watched(tmp_path, ["prediction > 0"], train)
    (found,) = [t for t in run.tracks("val/rule") if len(t)]
    assert found.steps.tolist() == [1, 2]
    assert found.mean[-1, 0] == int((model(inputs[:7]) <= 0).sum())
    assert found.mean[:, 1].tolist() == [7, 7]


def test_probabilities_of_a_classifier(tmp_path):
    model, inputs, labels = nn.Linear(4, 3), torch.randn(30, 4), torch.randint(3, (30,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    with torch.no_grad():
        probability = model(inputs).softmax(1).numpy()
    run = watched(tmp_path, ["sum(probability) == 1", "probability[2] < 0.3", "max(probability) < 0.5"], train)
    broken = [int(rows(run, "rule", ("rule", rule.id))[0][1][0]) for rule in run.rules.values()]
    assert broken == [0, int((probability[:, 2] >= 0.3).sum()), int((probability.max(1) >= 0.5).sum())]
    assert all(math.isnan(t.mean[0, 3]) for t in run.tracks("rule"))  # class numbers are no probabilities


def test_what_does_not_fit_says_why(tmp_path):
    _, train = regression(torch.randn(8, 3), torch.randn(8, 2), 2, after=[])
    run = watched(tmp_path, ["prediction[2] > 0", "probability > 0", "prediction > input"], train)
    why = [rule.unfit for rule in run.rules.values()]
    assert "prediction[2] does not exist: prediction has shape (8, 2)" in why[0]
    assert "no probability" in why[1]
    assert "do not go together" in why[2]
    assert not run.tracks("rule")


def test_short_floats_break_nothing_by_rounding(tmp_path):
    values = torch.randn(64, 5)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def train():
        predictions = (values.softmax(1) + 0 * weight).to(torch.bfloat16)
        F.mse_loss(predictions, values.to(torch.bfloat16)).backward()
        optimizer.step()

    run = watched(tmp_path, ["sum(prediction) == 1"], train)
    assert rows(run, "rule")[0][1][0] == 0


@pytest.mark.parametrize(
    "text", ["age > 3", "prediction", "prediction.sum() > 1", "increasing(prediction, input[0], target[1])"]
)
def test_what_is_no_rule_is_refused_at_once(tmp_path, text):
    with pytest.raises(ValueError, match=r"speaks of none|is no rule|are allowed|only calls|no words"):
        vivavoce.watch(directory=tmp_path, rules=[text])


def test_a_training_input_is_not_kept_nor_held_against_validation(tmp_path):
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def train():
        for _ in range(2):
            batch = torch.full((4, 1), 100.0)
            optimizer.zero_grad()
            model(batch).square().mean().backward()  # by hand: no loss function takes the input
            with torch.no_grad():
                F.mse_loss(model(torch.zeros(4, 1)), torch.zeros(4, 1))
            optimizer.step()

    run = vivavoce.watch(budget=0.5, directory=tmp_path, rules=["prediction >= input"]).start()
    take_everything(run._session)
    train()
    assert run._session.rules._input is None
    run.stop()
    assert run.run.tracks("val/rule") == []
