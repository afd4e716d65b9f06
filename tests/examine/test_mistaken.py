"""Trainings that once were taken for something else: each was misjudged when trainings were drawn at random."""

import pytest
import torch
from networks import X, Y, mlp
from torch import nn
from torch.nn import functional as F
from watching import alarms, fit, primary

IMAGES = X[:, :64].reshape(-1, 1, 8, 8)


def two_kinds(n=2000):
    x = torch.randn(n, 10)
    return x, (x[:, :1] + x[:, 1:2] * x[:, 2:3] > 0).float()


def fit_two_kinds(model, optimizer, x, y, validation=None):
    fit(model, optimizer, x, y, 500, 32, F.binary_cross_entropy_with_logits, validation)


def test_few_examples_learned_by_heart_are_no_wrong_labels(watched):
    x, y = two_kinds()
    model = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    with watched:
        fit_two_kinds(model, torch.optim.Adam(model.parameters(), 3e-3), x[:60], y[:60], (x[60:], y[60:]))
    assert primary(watched) == "overfitting"


def test_large_first_steps_of_rmsprop_are_no_large_learning_rate(watched):
    """RMSprop's mean square begins at zero: its first step is ten times the learning rate."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )
    mixed = Y[torch.randperm(len(Y))]
    with watched:
        fit(model, torch.optim.RMSprop(model.parameters(), 1e-3), IMAGES, mixed, 300, 64)
    assert "learning-rate-too-high" not in alarms(watched)


def test_a_learning_rate_that_is_too_high_for_rmsprop(watched):
    model = mlp()
    with watched:
        fit(model, torch.optim.RMSprop(model.parameters(), 1.0), X, Y, 300, 64)
    assert primary(watched) == "learning-rate-too-high"


def test_biases_that_saturate_units_are_no_large_inputs(watched):
    x, y = two_kinds()
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    for layer in (model[0], model[2]):
        nn.init.constant_(layer.bias, -12.0)
    with watched:
        fit_two_kinds(model, torch.optim.Adam(model.parameters(), 1e-3), x, y)
    assert primary(watched) == "saturated-units"


def test_logits_behind_a_relu(watched):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x):
            return self.body(x).relu()

    model = Network()
    with torch.no_grad():
        model.body[-1].bias.copy_(torch.tensor([-3.0] * 5 + [0.0] * 5))  # half of the classes are cut off
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 1e-3), X, Y, 400, 64)
    assert primary(watched) == "loss-output-mismatch"


def test_a_decay_that_pulls_the_weights_to_zero_is_no_large_learning_rate(watched):
    model = mlp()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3, weight_decay=1.0), X, Y, 400, 64)
    assert primary(watched) == "underfitting"


@pytest.mark.parametrize("value", [0.01, 0.05])
def test_equal_convolutions_that_rounding_tells_apart(watched, value):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.constant_(parameter, value)
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 1e-4), IMAGES, Y, 150, 64)
    assert primary(watched) == "symmetric-weights"


def test_a_validation_loss_that_stalled_far_above_the_training_loss(watched):
    x = torch.randn(1500, 10)
    y = x[:, :1] + x[:, 1:2].sin() + 0.5 * x[:, 2:3] * x[:, 3:4]
    model = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), x[:40], y[:40], 500, 16, F.l1_loss, (x[40:], y[40:]))
    assert primary(watched) == "overfitting"


class Ratings(nn.Module):
    """Matrix factorisation, with a bias for each user and each film that begins at zero, as is usual."""

    def __init__(self):
        super().__init__()
        self.user, self.film = nn.Embedding(100, 6), nn.Embedding(60, 6)
        self.user_bias, self.film_bias = nn.Embedding(100, 1), nn.Embedding(60, 1)
        for biases in (self.user_bias, self.film_bias):
            nn.init.zeros_(biases.weight)

    def forward(self, pairs):
        user, film = pairs.unbind(1)
        biases = self.user_bias(user) + self.film_bias(film)
        return (self.user(user) * self.film(film)).sum(1) + biases[:, 0]


def test_biases_of_users_and_films_that_begin_at_zero_are_no_equal_units(watched):
    pairs = torch.stack([torch.randint(100, (4000,)), torch.randint(60, (4000,))], 1)
    taste = torch.randn(100, 3), torch.randn(60, 3)
    ratings = (taste[0][pairs[:, 0]] * taste[1][pairs[:, 1]]).sum(1)
    model = Ratings()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3.0), pairs, ratings, 300, 256, F.mse_loss)
    assert "symmetric-weights" not in alarms(watched)


def test_a_token_that_is_never_the_most_probable_is_no_ignored_class(watched):
    """Every word foretells the next, but for one that comes at random: rightly it is never foretold."""
    words = (torch.arange(16) + torch.randint(4, (500, 1))) % 4
    words = torch.where(torch.rand(words.shape) < 0.1, 4, words)
    model = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 5))
    with watched:
        fit(
            model,
            torch.optim.Adam(model.parameters(), 1e-2),
            words[:, :-1].reshape(-1),
            words[:, 1:].reshape(-1),
            600,
            64,
        )
    assert "class-ignored" not in alarms(watched)
