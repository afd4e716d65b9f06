"""Ailments that show only in signals read from tensors: small networks trained under the real taps."""

import copy
import math
from pathlib import Path

import pytest
import torch
from networks import X, Y, mlp
from torch import nn
from torch.nn import functional as F
from watching import alarms, fit, fit_loader, primary

import vivavoce
from vivavoce.attach import registry
from vivavoce.examine.progress import weighted_binary
from vivavoce.record.entities import Event
from vivavoce.testing.runs import make_run

# ---- labels -----------------------------------------------------------------------------------------------------------


def test_a_third_of_the_labels_is_wrong(watched):
    y = torch.where(torch.rand(len(Y)) < 0.37, torch.randint(0, 10, (len(Y),)), Y)
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


def test_adams_first_step_in_layers_that_receive_nothing_is_not_too_large(watched):
    """It changes each weight by the rate, however small its gradient: 14 % of the size of these weights, and no fault."""
    layers = [layer for _ in range(11) for layer in (nn.Linear(48, 48), nn.Sigmoid())]
    model = nn.Sequential(nn.Linear(8, 48), nn.Sigmoid(), *layers, nn.Linear(48, 1))
    x = torch.randn(1200, 8)
    y = x[:, :1] + x[:, 1:2] * x[:, 2:3]
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 0.01), x, y, 250, 64, F.mse_loss)
    assert primary(watched) == "vanishing-gradients"


def test_raw_outputs_of_a_layer_without_a_bias_into_nll_loss(watched):
    """A matrix product may be a sum of log-probabilities; a loss below zero can come of none."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10, bias=False))
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 120, loss=lambda o, y: F.nll_loss(o, y))
    assert primary(watched) == "loss-output-mismatch"
    assert "its value fell to -" in watched.verdict.primary.why


def blobs_of_two(spread):
    yes = torch.randint(0, 2, (3000,))
    x = torch.randn(3000, 8)
    x[:, 0] += 4 * (yes.float() - 0.5) / spread
    return x, yes.float()[:, None]


def test_a_fifth_of_yes_and_no_is_turned_round(watched):
    x, yes = blobs_of_two(spread=0.5)
    yes = torch.where(torch.rand(3000, 1) < 0.2, 1 - yes, yes)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), x, yes, 400, 64, F.binary_cross_entropy_with_logits)
    assert primary(watched) == "label-noise"


def test_yes_and_no_that_overlap_are_no_noise_in_the_labels(watched):
    """A fifth is wrong at best, but where the network is unsure."""
    x, yes = blobs_of_two(spread=2.4)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), x, yes, 400, 64, F.binary_cross_entropy_with_logits)
    assert "label-noise" not in alarms(watched)


@pytest.mark.parametrize("wrong", [True, False])
def test_so_many_wrong_labels_that_only_the_validation_shows_skill(watched, wrong):
    """A third is turned round in training and none in validation; beside it as many honest errors in training alone, by dropout."""
    x, yes = blobs_of_two(spread=0.5 if wrong else 1.2)
    given = torch.where(torch.rand(3000, 1) < 0.32, 1 - yes, yes) if wrong else yes
    model = nn.Sequential(nn.Dropout(0.0 if wrong else 0.5), nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    data = (x[:2400], given[:2400]), (x[2400:], yes[2400:])
    with watched:
        fit(
            model,
            torch.optim.Adam(model.parameters(), 3e-3),
            *data[0],
            300,
            64,
            F.binary_cross_entropy_with_logits,
            validation=data[1],
        )
    assert ("label-noise" in alarms(watched)) == wrong
    if wrong:
        assert "On the validation data" in watched.verdict.primary.why


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
        fit_loader(model, optimizer, loader, 10)
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


@pytest.mark.parametrize("rare", [5, 60])
def test_a_class_with_hardly_any_examples(watched, rare):
    """They are learned by heart, so that in training they are predicted as often as they occur."""
    y = torch.cat([torch.arange(4).repeat_interleave(torch.tensor([500, 220, 220, rare]))])
    x = 3 * torch.randn(4, 8)[y] + torch.randn(len(y), 8)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 32, shuffle=True)
    model = mlp_of(8, 4)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        fit_loader(model, optimizer, loader, 12)
    found = {finding.slug: finding for finding in watched.findings}
    assert ("class-imbalance" in alarms(watched)) == (rare < 8)
    if rare < 8:
        assert "are of class 3" in found["class-imbalance"].why


def test_a_classifier_that_lies_far_above_guessing_for_most_of_the_run(watched):
    """In the end it has learned everything by heart: that does not acquit the steps that threw it there."""
    words = torch.randint(0, 500, (400, 12))
    y = torch.randint(0, 4, (400,))
    model = nn.Sequential(nn.EmbeddingBag(500, 24), nn.Linear(24, 4))
    optimizer = torch.optim.Adam(model.parameters(), 5.0)
    with watched:
        fit(model, optimizer, words, y, 250)
        optimizer.param_groups[0]["lr"] = 0.5
        fit(model, optimizer, words, y, 150)
    assert primary(watched) == "learning-rate-too-high"


def test_few_examples_learned_by_heart_are_no_wrong_labels(watched):
    """Of twenty a class nothing carries over, though their labels are right."""
    words = torch.randint(20, 200, (600, 20))
    y = torch.randint(0, 2, (600,))
    words = torch.where(torch.rand(600, 20) < 0.03, y[:, None] * 9 + torch.randint(1, 10, words.shape), words)
    model = nn.Sequential(nn.EmbeddingBag(200, 32), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(words[:40], y[:40]), 20, shuffle=True)
    with watched:
        fit_loader(model, optimizer, loader, 120, validation=(words[40:], y[40:]))
    assert "label-noise" not in alarms(watched)


def test_a_little_added_before_a_logarithm_is_no_wrong_loss(watched):
    """log(p + 0.01) of a class that is certain lies above zero, and the loss below it."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1))
    with watched:
        fit(
            model,
            torch.optim.Adam(model.parameters(), 1e-2),
            X[:64],
            Y[:64],
            300,
            loss=lambda p, y: F.nll_loss(torch.log(p + 0.01), y),
        )
    assert watched.run.train_loss.minimum.min() < 0
    assert "loss-output-mismatch" not in alarms(watched)


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


# ---- losses written by hand, and loops that miss a call ---------------------------------------------------------------


def by_hand(kind, output, y, target):
    """A loss without torch.nn.functional, right or with the fault that its name says."""
    rows = torch.arange(len(y))
    if kind == "broadcast":
        return (output[:, :1] - target).square().mean()
    if kind == "regression":
        return (output[:, 0] - target).square().mean()
    if kind == "softmax twice":
        return -output.softmax(1).log_softmax(1)[rows, y].mean()
    if kind == "softmax over the batch":
        return -output.softmax(0).log()[rows, y].mean()
    if kind == "sigmoid twice":
        p = output[:, 0].sigmoid().sigmoid()
        return -((target > 0) * p.log() + (target <= 0) * (1 - p).log()).mean()
    return -output.log_softmax(1)[rows, y].mean()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("broadcast", "target-broadcast"),
        ("regression", "healthy"),
        ("softmax twice", "loss-output-mismatch"),
        ("softmax over the batch", "loss-output-mismatch"),
        ("sigmoid twice", "loss-output-mismatch"),
        ("likelihood", "healthy"),
    ],
)
def test_a_loss_written_by_hand(watched, kind, expected):
    x = torch.randn(600, 8)
    target = x @ torch.randn(8) / 3
    y = (x @ torch.randn(8, 5)).argmax(1)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 5))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    with watched:
        for _ in range(150):
            pick = torch.randint(0, len(x), (40,))
            optimizer.zero_grad()
            by_hand(kind, model(x[pick]), y[pick], target[pick]).backward()
            optimizer.step()
    assert primary(watched) == expected
    if expected != "healthy":
        assert watched.verdict.primary.where.file == __file__


@pytest.mark.parametrize("pairs", ["distances of the examples", "distances to prototypes"])
def test_pairs_that_are_meant(watched, pairs):
    """Tables of all pairs are the nature of contrastive losses."""
    x = torch.randn(40, 6)
    y = (x[:, 0] > 0).long()
    model = nn.Linear(6, 1)
    prototypes = torch.randn(40, 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with watched:
        for _ in range(100):
            optimizer.zero_grad()
            code = model(x)
            if pairs == "distances of the examples":
                same = (y[:, None] == y[None]).float()
                loss = (same * (code - code.T).square() + (1 - same) * (1 - (code - code.T).abs()).relu()).mean()
            else:
                loss = -(-(code[:, None] - prototypes[None, :20]).square().sum(-1)).log_softmax(1)[:, 0].mean()
            loss.backward()
            optimizer.step()
    assert "target-broadcast" not in alarms(watched)


def test_an_optimizer_that_never_steps(watched):
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        for _ in range(100):
            pick = torch.randint(0, len(X), (32,))
            optimizer.zero_grad()
            F.cross_entropy(model(X[pick]), Y[pick]).backward()
    assert primary(watched) == "parameters-not-optimized"
    assert "backward() was called 100 times" in watched.verdict.primary.why


def test_gradients_cleared_before_the_step(watched):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched:
        for _ in range(100):
            pick = torch.randint(0, len(X), (32,))
            F.cross_entropy(model(X[pick]), Y[pick]).backward()
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()
    assert primary(watched) == "no-gradient"


@pytest.mark.parametrize(("scale", "labels", "expected"), [(1.0, "clean", "healthy"), (30.0, "clean", "train-eval-mismatch"),
                                                           (1.0, "shuffled", "label-noise")])  # fmt: skip
def test_validation_data_prepared_in_another_way(watched, scale, labels, expected):
    """Worse than guessing from the first epochs on is no overfitting; with shuffled labels nothing is learned of new examples."""
    y = Y[torch.randperm(len(Y))] if labels == "shuffled" else Y
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X[:1200], y[:1200]), 24, shuffle=True)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        for _ in range(12):
            for xb, yb in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(xb), yb).backward()
                optimizer.step()
            with torch.no_grad():
                F.cross_entropy(model(X[1200:] * scale), Y[1200:])
    assert primary(watched) == expected


@pytest.mark.parametrize(("examples", "epochs", "expected"), [(30, 120, "overfitting"), (1200, 12, "healthy")])
def test_accuracy_without_a_validation_loss(watched, examples, epochs, expected):
    """Only the accuracy is asked for on new examples: the network is far less sure there where it learned by heart."""
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X[:examples], Y[:examples]), 16, shuffle=True)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        for _ in range(epochs):
            model.train()
            for xb, yb in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(xb), yb).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                (model(X[1200:]).argmax(1) == Y[1200:]).float().mean()
    assert primary(watched) == expected


@pytest.mark.parametrize(("rate", "weight"), [(0.1, 1.0), (0.08, 6.0), (0.4, 0.3)])
def test_the_chance_level_of_a_weighted_binary_loss(rate, weight):
    """Against the minimum over a fine grid of constant predictions."""
    p = torch.linspace(1e-4, 1 - 1e-4, 200_001, dtype=torch.float64)
    grid = -(weight * rate * p.log() + (1 - rate) * (1 - p).log())
    assert weighted_binary(rate, weight) == pytest.approx(grid.min().item(), rel=1e-6)


def test_weighted_positives_that_are_learned_are_no_guess(watched):
    x = torch.randn(3000, 6)
    y = (x[:, 0] + 0.5 * torch.randn(3000) > 1.6).float()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(12.0))
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 1e-3), x, y, 300, 50, criterion)
    assert alarms(watched) == set()
    site = next(loss for loss in watched.run.losses.values() if loss.source == "function")
    assert site.weights == (12.0,)


@pytest.mark.parametrize(("steps", "expected"), [(24, {"stopped-too-early"}), (400, set())])
def test_only_a_short_training_stopped_too_early(watched, steps, expected):
    """A long one may end while the loss still falls a little."""
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 10))
    with watched:
        fit(model, torch.optim.SGD(model.parameters(), 0.5 if steps < 100 else 0.01), X, Y, steps)
    assert alarms(watched) == expected


def test_a_copy_for_each_task_is_heard_of_and_not_searched_for(watched, monkeypatch):
    searches = []
    monkeypatch.setattr(registry, "_collected_modules", lambda: searches.append(1) or [])
    with watched:
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        for _ in range(20):
            twin = copy.deepcopy(model)
            fit(
                twin,
                torch.optim.SGD(twin.parameters(), 0.05),
                torch.randn(50, 2),
                torch.randn(50, 1),
                5,
                10,
                F.mse_loss,
            )
    assert searches == []
    assert {parameter.name for parameter in watched.run.parameters.values()} == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }


def test_a_finding_points_at_the_line_that_made_the_layer(watched):
    with watched:
        model = nn.Sequential(
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )
        nn.init.constant_(model[0].bias, -50.0)
        fit(model, torch.optim.SGD(model.parameters(), 0.05), X, Y, 120)
    place = watched.verdict.primary.where
    assert (primary(watched), place.file) == ("dead-units", __file__)
    assert "nn.Sequential(" in Path(__file__).read_text().splitlines()[place.line - 1]


@pytest.mark.parametrize(
    ("habit", "found"), [("validation", True), ("with eval", False), ("a look", False), ("every step", False)]
)
def test_units_dropped_without_gradients(watched, habit, found):
    """A validation pass in training mode; one in evaluation mode, a look at the training batch, a teacher that is noisy."""
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.5), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        for step in range(300):
            k = torch.randint(0, 1400, (64,))
            logits = model(X[k])
            optimizer.zero_grad()
            F.cross_entropy(logits, Y[k]).backward()
            optimizer.step()
            with torch.no_grad():
                if habit == "every step":
                    F.cross_entropy(model(X[1400:]), Y[1400:])
                elif step % 30 == 29:
                    model.train(habit != "with eval")
                    if habit == "a look":
                        F.cross_entropy(logits.detach(), Y[k])
                    else:
                        F.cross_entropy(model(X[1400:]), Y[1400:])
                    model.train()
    assert ("train-eval-mismatch" in alarms(watched)) == found
