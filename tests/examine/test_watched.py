"""Ailments that show only in signals read from tensors: small networks trained under the real taps."""

import math

import pytest
import torch
from networks import X, Y, mlp
from torch import nn
from torch.nn import functional as F

import vivavoce
from vivavoce.record.entities import Event
from vivavoce.testing.runs import make_run


@pytest.fixture
def watched(tmp_path):
    torch.manual_seed(0)
    return vivavoce.watch(directory=tmp_path, budget=0.5)


def fit(model, optimizer, x, y, steps, size=32, loss=None, validation=None):
    loss = loss or F.cross_entropy  # looked up here: a watch sees only functions that are looked up while it goes on
    for step in range(1, steps + 1):
        pick = torch.randint(0, len(x), (size,))
        optimizer.zero_grad()
        loss(model(x[pick]), y[pick]).backward()
        optimizer.step()
        if validation is not None and step % 25 == 0:
            model.eval()
            with torch.no_grad():
                loss(model(validation[0]), validation[1])
            model.train()


def alarms(watch):
    grave = [finding for finding in watch.findings if finding.severity != "note"]
    assert watch.verdict.faults == ()
    return {finding.slug for finding in grave} | {slug for finding in grave for slug in finding.symptoms}


def primary(watch):
    assert watch.verdict.faults == ()
    return watch.verdict.primary.slug if watch.verdict.primary else watch.verdict.outcome


# ---- labels -----------------------------------------------------------------------------------------------------------


def test_a_third_of_the_labels_is_wrong(watched):
    y = torch.where(torch.rand(len(Y)) < 0.3, torch.randint(0, 10, (len(Y),)), Y)
    model = mlp()
    with watched:
        fit(
            model,
            torch.optim.Adam(model.parameters(), 3e-3),
            X[:1400],
            y[:1400],
            300,
            64,
            validation=(X[1400:], Y[1400:]),
        )
    assert primary(watched) == "label-noise"


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_honest_errors_are_no_noise_in_the_labels(watched, dropout):
    """Classes that overlap: one in four is wrong at best, but the right one is the runner-up."""
    y = torch.randint(0, 6, (3000,))
    x = torch.randn(6, 4)[y] + torch.randn(3000, 4)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 6))
    with watched:
        fit(
            model,
            torch.optim.Adam(model.parameters(), 3e-3),
            x[:2500],
            y[:2500],
            400,
            64,
            validation=(x[2500:], y[2500:]),
        )
    assert alarms(watched) == set()


def test_an_uncertain_next_token_is_no_noise_in_the_labels(watched):
    follows = torch.randint(0, 30, (30,))
    tokens = torch.randint(0, 30, (4000,))
    targets = torch.where(torch.rand(4000) < 0.6, follows[tokens], torch.randint(0, 30, (4000,)))
    model = nn.Sequential(nn.Embedding(30, 32), nn.Linear(32, 30))
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 1e-2), tokens, targets, 400, 64)
    assert "label-noise" not in alarms(watched)


# ---- initialisation ---------------------------------------------------------------------------------------------------


def constant(model):
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.05)


def tiny(model):
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=1e-3)


def huge(model):
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=5.0)


@pytest.mark.parametrize(("spoil", "depth", "expected"), [(constant, 2, "symmetric-weights"), (tiny, 4, "activation-scale"), (huge, 6, "activation-scale")])  # fmt: skip
def test_initialisations(watched, spoil, depth, expected):
    model = mlp(depth)
    spoil(model)
    with watched:
        fit(model, torch.optim.SGD(model.parameters(), 0.05), X, Y, 150)
    assert primary(watched) == expected


@pytest.mark.parametrize("init", [nn.init.kaiming_normal_, nn.init.xavier_uniform_, lambda w: nn.init.normal_(w, std=0.02), nn.init.orthogonal_])  # fmt: skip
def test_initialisations_in_use(watched, init):
    model = mlp(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            init(parameter)
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 600)
    assert alarms(watched) == set()


def test_a_last_layer_that_starts_at_zero_is_a_known_trick(watched):
    model = mlp(2)
    nn.init.zeros_(model[-1].weight)
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 200)
    assert alarms(watched) == set()


# ---- training and evaluation --------------------------------------------------------------------------------------------


def test_large_inputs_behind_a_batch_normalisation(watched):
    model = nn.Sequential(nn.BatchNorm1d(64), mlp())
    x = 255 * X + 500
    with watched:
        fit(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), x, Y, 300)
    assert alarms(watched) == set()


def test_evaluation_in_training_mode(watched):
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        for _ in range(10):
            fit(model, optimizer, X[:1400], Y[:1400], 30)
            with torch.no_grad():
                for a in range(1400, 1780, 4):  # model.eval() is missing
                    model(X[a : a + 4])
    assert primary(watched) == "train-eval-mismatch"


# ---- order and batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
def test_examples_sorted_by_class(watched, shuffle):
    order = torch.argsort(Y[:1400])
    data = torch.utils.data.TensorDataset(X[:1400][order], Y[:1400][order])
    loader = torch.utils.data.DataLoader(data, 32, shuffle=shuffle)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched:
        for _ in range(8):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    assert ("unshuffled-data" in alarms(watched)) != shuffle


def test_a_fixed_order_of_mixed_examples_is_a_note(watched):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X[:960], Y[:960]), 32)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with watched:
        for _ in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    assert alarms(watched) == set()
    assert "unshuffled-data" in {finding.slug for finding in watched.findings}


def test_a_rare_class_that_is_passed_over(watched):
    x = torch.randn(4000, 6)
    y = (x[:, 0] + 2 * torch.randn(4000) > 3.8).float()
    model = mlp_of(6, 1)
    with watched:
        fit(
            model,
            torch.optim.Adam(model.parameters(), 1e-3),
            x,
            y,
            600,
            256,
            lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t),
        )
    assert "class-imbalance" in alarms(watched)


def mlp_of(features, out):
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, out))


# ---- phases, capacity, other losses -----------------------------------------------------------------------------------------


def test_fine_tuning_is_judged_by_itself(watched):
    """A new head starts at chance level: after pre-training the loss goes up, and that is no fault."""
    model = mlp()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 200)
        model[-1] = nn.Linear(64, 5)
        fit(model, torch.optim.Adam(model.parameters(), 1e-3), X, Y % 5, 300)
    assert alarms(watched) == set()


def test_a_bottleneck_of_one_unit(watched):
    model = nn.Sequential(
        nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1), nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 64)
    )
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, X, 500, 64, F.mse_loss)
    assert primary(watched) in {"capacity-too-small", "underfitting"}
    assert "capacity-too-small" in alarms(watched)


def test_a_likelihood_below_zero(watched):
    """Tiny targets: the likelihood falls far below zero, and nothing is wrong."""
    x = torch.rand(2000, 1) * 4 - 2
    y = 0.05 * torch.sin(2 * x) + 0.01 * torch.randn(2000, 1)
    model = mlp_of(1, 2)
    with watched:
        fit(
            model,
            torch.optim.Adam(model.parameters(), 3e-3),
            x,
            y,
            500,
            64,
            lambda o, t: F.gaussian_nll_loss(o[:, :1], t, F.softplus(o[:, 1:]) + 1e-4),
        )
    assert alarms(watched) == set()


def test_a_loss_written_by_hand_and_a_learning_rate_far_too_high(watched):
    model = mlp_of(6, 1)
    x = torch.randn(1000, 6)
    y = x[:, :1]
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 10.0), x, y, 200, loss=lambda o, t: (o - t).square().mean())
    assert primary(watched) == "learning-rate-too-high"


# ---- adversaries ----------------------------------------------------------------------------------------------------------


def test_an_adversarial_autoencoder_shares_its_encoder_on_purpose(watched):
    encoder, decoder, critic = mlp_of(64, 4), mlp_of(4, 64), mlp_of(4, 1)
    whole = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    of_critic, of_encoder = (torch.optim.Adam(m.parameters(), 1e-3) for m in (critic, encoder))
    real, made, judge = torch.ones(64, 1), torch.zeros(64, 1), F.binary_cross_entropy_with_logits
    with watched:
        for _ in range(150):
            x = X[torch.randint(0, 1400, (64,))]
            whole.zero_grad()
            F.mse_loss(decoder(encoder(x)), x).backward()
            whole.step()
            of_critic.zero_grad()
            (judge(critic(torch.randn(64, 4)), real) + judge(critic(encoder(x).detach()), made)).backward()
            of_critic.step()
            of_encoder.zero_grad()
            judge(critic(encoder(x)), real).backward()
            of_encoder.step()
    assert alarms(watched) == set()


# ---- half precision ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skips", "expected"), [(range(1, 6), False), (range(1, 200), True)], ids=["at the start", "all along"]
)
def test_steps_skipped_by_the_scaler(skips, expected):
    steps = list(range(1, 201))
    losses = [2 * math.exp(-step / 50) for step in steps]
    run = make_run(
        meta={"steps": 200},
        signals={("train/loss", ("loss", 0)): (["loss"], steps, losses)},
        events=[Event(step, 0.1 * step, "scaler-skip", {"scale": 2.0**-step}) for step in skips],
    )
    found = {finding.slug for finding in vivavoce.examine.examine(run).findings}
    assert ("amp-underflow" in found) == expected


# ---- causes that look alike ---------------------------------------------------------------------------------------------


def test_a_singular_derivative_is_no_matter_of_the_learning_rate(watched):
    """The steps are large, but the loss fell until a distance became zero."""
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched:
        for step in range(60):
            x = torch.randn(8, 4)
            made = model(x)
            target = made.detach() if step == 30 else x
            optimizer.zero_grad()
            ((made - target) ** 2).sum(1).sqrt().mean().backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "non-finite"
    assert "Sqrt" in finding.why


def test_actor_and_critic_are_no_generator_and_discriminator(watched):
    """The critic sees actions beside states, whose range is not the actor's, and rates them."""
    actor = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1), nn.Tanh())
    critic = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
    of_actor, of_critic = (torch.optim.Adam(model.parameters(), 1e-3) for model in (actor, critic))
    with watched:
        for step in range(450):
            state, action = torch.randn(64, 3), torch.rand(64, 1) * 2 - 1
            reward = -((action - state[:, :1].tanh()) ** 2)
            of_critic.zero_grad()
            F.mse_loss(critic(torch.cat([state, action], 1)), reward).backward()
            of_critic.step()
            if step % 3 == 0:
                of_actor.zero_grad()
                (-critic(torch.cat([state, actor(state)], 1)).mean()).backward()
                of_actor.step()
    assert alarms(watched) == set()


@pytest.mark.parametrize("broken", [True, False], ids=["broken", "with an empty batch"])
def test_nan_in_the_validation_data_alone(watched, broken):
    x, y = X[1400:1500].clone(), Y[1400:1500]
    if broken:
        x[3, 5] = math.nan
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        for _ in range(8):
            fit(model, optimizer, X[:1400], Y[:1400], 20, validation=None)
            model.eval()
            with torch.no_grad():
                for part in (slice(0, 50), slice(50, 100), slice(100, 100)):
                    F.cross_entropy(model(x[part]), y[part])
            model.train()
    assert primary(watched) == ("non-finite" if broken else "healthy")
    if broken:
        assert "8 of 8 passes" in watched.verdict.primary.why
