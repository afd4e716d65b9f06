"""Each ailment in a network that really has it, and beside it a healthy network that looks nearly the same."""

import math

import pytest
import torch
from networks import VALIDATION, Recurrent, X, Y, adam, adding, digits, mlp, sgd, train
from torch import nn
from training import Training

from vivavoce.examine import examine


def primary(run):
    verdict = examine(run)
    assert verdict.faults == ()
    return verdict.primary.slug if verdict.primary else verdict.outcome


def everything(run):
    """All slugs of warnings and worse, symptoms included."""
    grave = [finding for finding in examine(run).findings if finding.severity != "note"]
    return {finding.slug for finding in grave} | {slug for finding in grave for slug in finding.symptoms}


# ---- healthy ----------------------------------------------------------------------------------------------------------

HEALTHY = {
    "sgd": lambda seed: train(mlp, sgd(0.1), seed, steps=400, validation=VALIDATION),
    "adam": lambda seed: train(mlp, adam(1e-3), seed, steps=400, validation=VALIDATION),
    "momentum": lambda seed: train(mlp, sgd(0.05, momentum=0.9), seed, steps=300, validation=VALIDATION),
    "deep relu": lambda seed: train(lambda: mlp(8), adam(1e-3), seed, steps=600),
    "deep tanh": lambda seed: train(lambda: mlp(8, activation=nn.Tanh), adam(1e-3), seed, steps=600),
    "deep with normalisation": lambda seed: train(lambda: mlp(8, norm=True), adam(3e-3), seed, steps=400),
    "sigmoid, shallow": lambda seed: train(lambda: mlp(1, activation=nn.Sigmoid), adam(1e-2), seed, steps=300),
    "large learning rate that learns": lambda seed: train(mlp, adam(0.03), seed, steps=300),
    "accumulation": lambda seed: train(mlp, sgd(0.1), seed, steps=300, accumulate=2),
    "converged": lambda seed: train(mlp, adam(3e-3), seed, steps=900),
    "clipped at every step": lambda seed: train(mlp, adam(3e-3), seed, steps=300, clip=0.1),
    "large inputs behind a normalisation": lambda seed: train(
        lambda: nn.Sequential(nn.BatchNorm1d(64), mlp()), adam(3e-3), seed, steps=300, batches=digits(scale=255.0)
    ),
    "full batch": lambda seed: train(mlp, adam(1e-2), seed, steps=150, batches=lambda i: (X[:300], Y[:300])),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_no_false_alarm(name):
    verdict = examine(HEALTHY[name](0))
    assert verdict.outcome == "healthy", verdict


def test_fine_tuning_with_a_small_learning_rate_is_no_ailment():
    torch.manual_seed(0)
    model = mlp()
    Training(model, torch.optim.Adam(model.parameters(), lr=3e-3), digits(), steps=300).run()
    run = Training(model, torch.optim.Adam(model.parameters(), lr=1e-6), digits(), steps=200).run()
    assert everything(run) == set()


def test_frozen_layers_are_no_ailment():
    def make():
        model = mlp(3)
        model[0].requires_grad_(False)
        model[2].requires_grad_(False)
        return model

    assert everything(train(make, adam(1e-2), steps=300)) == set()


# ---- exploding, vanishing, non-finite ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"clip": 1.0}], ids=["bare", "clipped"])
def test_recurrent_network_that_multiplies_the_gradient(options):
    """ReLU with W = 1.1 I over 100 steps: the gradient grows by 1.1 a step (closed form), 13,780 times in all."""
    run = train(
        lambda: Recurrent(radius=1.1, nonlinearity="relu"),
        sgd(0.01),
        batches=adding(),
        loss="mse_loss",
        steps=60,
        **options,
    )
    verdict = examine(run)
    assert primary(run) == "exploding-gradients"
    assert "rnn." in verdict.primary.where.parameter
    assert any("LSTM" in remedy.edit for remedy in verdict.primary.remedies)
    assert "learning-rate-too-high" in [item.slug for item in verdict.primary.ruled_out]


def test_the_bare_explosion_explains_its_nan():
    run = train(
        lambda: Recurrent(radius=1.1, nonlinearity="relu"), sgd(0.01), batches=adding(), loss="mse_loss", steps=60
    )
    assert "non-finite" in examine(run).primary.symptoms


def test_lstm_on_the_same_task_is_not_exploding():
    run = train(lambda: Recurrent(nn.LSTM), adam(5e-3), batches=adding(20), loss="mse_loss", steps=150, clip=1.0)
    assert "exploding-gradients" not in everything(run)


@pytest.mark.parametrize(
    ("depth", "activation"), [(8, nn.Sigmoid), (20, nn.ReLU)], ids=["eight sigmoid layers", "twenty small relu layers"]
)
def test_vanishing_gradients(depth, activation):
    run = train(lambda: mlp(depth, activation=activation), sgd(0.1))
    verdict = examine(run)
    assert primary(run) == "vanishing-gradients"
    assert verdict.primary.where.layer == "0"
    assert "guessing" in verdict.primary.symptoms


def test_a_logarithm_of_zero_is_named():
    class Log(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, x):
            return torch.log(self.inner(x))

    run = train(Log, sgd(0.1), steps=60)
    assert primary(run) == "non-finite"
    assert examine(run).primary.where.first_step == 1


# ---- learning rate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "optimizer",
    [sgd(5.0, momentum=0.9), sgd(1.0, momentum=0.99), sgd(20.0), adam(1.0), sgd(1e9)],
    ids=["sgd 5", "momentum 0.99", "sgd 20", "adam 1", "sgd 1e9"],
)
def test_learning_rate_too_high(optimizer, seed):
    run = train(mlp, optimizer, seed)
    assert primary(run) == "learning-rate-too-high"
    assert "lr=" in examine(run).primary.remedies[0].edit


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("optimizer", [sgd(1e-5), adam(1e-7), adam(1e-6)], ids=["sgd 1e-5", "adam 1e-7", "adam 1e-6"])
def test_learning_rate_too_low(optimizer, seed):
    run = train(mlp, optimizer, seed)
    assert primary(run) == "learning-rate-too-low"


# ---- wiring -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_not_zeroed(seed):
    run = train(mlp, sgd(0.1), seed, zero_grad=False)
    assert primary(run) == "gradients-not-zeroed"
    assert "zero_grad" in examine(run).primary.remedies[0].edit


def test_optimizer_of_another_model():
    torch.manual_seed(0)
    trained, held = mlp(), mlp()
    run = Training(trained, torch.optim.SGD(held.parameters(), lr=0.1), digits(), other_models=(held,), steps=100).run()
    verdict = examine(run)
    assert verdict.primary.slug == "parameters-not-optimized"
    assert "no-gradient" in verdict.primary.symptoms
    assert "guessing" in verdict.primary.symptoms
    assert "Net0" in verdict.primary.why
    assert "Net1" in verdict.primary.why
    assert verdict.primary.where.line == 12


def test_optimizer_of_the_last_layer_alone():
    torch.manual_seed(0)
    model = mlp()
    run = Training(model, torch.optim.Adam(model[-1].parameters(), lr=1e-2), digits()).run()
    assert primary(run) == "parameters-not-optimized"


def test_detached_encoder():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x):
            return self.head(torch.relu(self.encoder(x)).detach())

    run = train(Detached, adam(1e-2))
    verdict = examine(run)
    assert verdict.primary.slug == "no-gradient"
    assert verdict.primary.where.layer == "encoder"


def test_an_unused_head_is_a_note_at_most():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.spare = mlp(), nn.Linear(64, 3)

        def forward(self, x):
            return self.body(x)

    run = train(Unused, adam(3e-3), steps=300)
    assert everything(run) == set()
    assert "no-gradient" in [finding.slug for finding in examine(run).findings]


@pytest.mark.parametrize("layer", [nn.Softmax(dim=1), nn.Sigmoid()], ids=["softmax", "sigmoid"])
def test_loss_output_mismatch(layer):
    run = train(lambda: nn.Sequential(mlp(), layer), sgd(0.1))
    assert primary(run) == "loss-output-mismatch"


def test_target_broadcast():
    with pytest.warns(UserWarning, match="target size"):
        run = train(
            lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1)),
            adam(1e-3),
            batches=lambda i: (X[:64], Y[:64].float()),
            loss="mse_loss",
        )
    assert primary(run) == "target-broadcast"


def test_output_range():
    run = train(
        lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid()),
        adam(1e-2),
        batches=lambda i: (X[:64], Y[:64, None].float()),
        loss="mse_loss",
    )
    assert primary(run) == "output-range"


def test_zero_weights():
    def make():
        model = mlp()
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        return model

    run = train(make, sgd(0.1))
    assert primary(run) == "symmetric-weights"
    assert "guessing" in examine(run).primary.symptoms


# ---- data -------------------------------------------------------------------------------------------------------------


def test_unnormalised_input():
    run = train(mlp, sgd(0.1), batches=digits(scale=255.0))
    assert primary(run) == "unnormalised-input"


def test_nan_in_the_inputs():
    def batches(i):
        x, y = digits()(i)
        x[3, 4] = math.nan
        return x, y

    run = train(mlp, sgd(0.1), batches=batches, steps=50)
    verdict = examine(run)
    assert verdict.primary.slug == "bad-input"
    assert "non-finite" in verdict.primary.symptoms


# ---- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_dead_units(seed):
    def make():
        model = mlp()
        nn.init.constant_(model[0].bias, -12.0)
        return model

    run = train(make, sgd(0.1), seed)
    verdict = examine(run)
    assert verdict.primary.slug == "dead-units"
    assert verdict.primary.where.layer == "1"


@pytest.mark.parametrize("seed", [0, 1])
def test_saturated_units(seed):
    def make():
        model = mlp(3, activation=nn.Tanh)
        for layer in (model[0], model[2], model[4]):
            nn.init.normal_(layer.weight, std=20.0)
        return model

    assert "saturated-units" in everything(train(make, sgd(1e-3), seed))


# ---- outcome ----------------------------------------------------------------------------------------------------------


def test_guessing_among_ten_classes():
    generator = torch.Generator().manual_seed(0)

    def batches(_):
        return torch.randn(64, 64, generator=generator), torch.randint(0, 10, (64,), generator=generator)

    run = train(mlp, adam(1e-3), batches=batches, steps=200)
    verdict = examine(run)
    assert verdict.primary.slug == "label-noise"
    assert "guessing" in verdict.primary.symptoms
    assert "ln 10 = 2.303" in verdict.primary.why


def test_overfitting_on_thirty_examples():
    run = train(lambda: mlp(2, 256), adam(3e-3), batches=digits(examples=30), steps=600, validation=VALIDATION)
    verdict = examine(run)
    assert verdict.primary.slug == "overfitting"
    assert verdict.primary.where.first_step < 300


def test_underfitting_under_a_heavy_weight_decay():
    run = train(mlp, sgd(0.1, weight_decay=1.0), steps=300)
    verdict = examine(run)
    assert verdict.primary.slug == "underfitting"
    assert "weight decay of 1" in verdict.primary.why


def test_a_noisy_task_is_not_called_underfitting():
    """Labels right in 6 of 10 cases: the loss ends far above zero, and the network is as good as it can be."""
    generator = torch.Generator().manual_seed(0)

    task = digits(64)

    def noisy(i):
        x, y = task(i)
        wrong = torch.rand(len(y), generator=generator) > 0.6
        return x, torch.where(wrong, torch.randint(0, 10, y.shape, generator=generator), y)

    assert everything(train(mlp, adam(1e-3), batches=noisy, steps=800)) == set()


def test_stopped_too_early():
    run = train(lambda: mlp(3), adam(1e-3), steps=60, validation=VALIDATION, validate_every=10)
    assert primary(run) == "stopped-too-early"
