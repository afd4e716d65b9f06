from functools import partial

import numpy as np
import pytest
import torch
from networks import adam, mlp, sgd, train
from torch import nn

from vivavoce.examine.learning_rate_too_high import largest_update
from vivavoce.examine.reading import main_optimizer, weights_of
from vivavoce.examine.sensitivity import default_norm, first_update, initial_sensitivity


@pytest.mark.parametrize("optimizer", [sgd(0.1, momentum=0.9), adam(1e-2)], ids=["sgd", "adam"])
def test_the_first_update_is_foretold_from_gradient_and_learning_rate(optimizer):
    run = train(partial(mlp, activation=nn.Tanh), optimizer, steps=3)
    recorded = np.median(weights_of(run, main_optimizer(run)).update[0])  # measured on the weights before and after
    assert first_update(run, main_optimizer(run)) == pytest.approx(
        recorded, rel=0.05
    )  # Adam's epsilon shortens some steps


@pytest.mark.parametrize("layer", [nn.Linear(40, 30), nn.Linear(30, 200), nn.Conv2d(8, 16, 3)], ids=str)
def test_default_norm_is_that_of_pytorchs_own_initialisation(layer):
    run = train(mlp, sgd(0.1), steps=1)
    parameter = next(iter(run.parameters.values()))
    shape = tuple(layer.weight.shape)
    expected = float(torch.linalg.vector_norm(layer.weight.detach()))
    assert default_norm(
        parameter.__class__(id=0, model=0, name="w", shape=shape, dtype="", module_class=type(layer).__name__)
    ) == pytest.approx(expected, rel=0.1)


def test_sensitivity_does_not_change_with_the_scale_of_the_loss():
    class Scaled(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.net, self.scale = nn.Linear(64, 1), scale

        def forward(self, x):
            return self.net(x) * self.scale

    values = []
    for scale in (1.0, 1000.0):
        run = train(
            partial(Scaled, scale),
            sgd(1e-9),
            steps=2,
            loss="mse_loss",
            batches=lambda i: (torch.ones(8, 64), torch.zeros(8, 1)),
        )
        values.append(initial_sensitivity(run, main_optimizer(run)).value)
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_largest_update_of_nothing():
    run = train(mlp, sgd(0.0), steps=2)
    assert largest_update(weights_of(run, main_optimizer(run)), main_optimizer(run)) == 0
