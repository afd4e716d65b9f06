"""What users asked in public threads: each as the small script they could have written, and the answer that the report must give.

Not here, because the answer lies in another part of the project: sums of confusion matrices and counts in a stream (labs of
question 7), learning curves with intervals (question 9), the domain of the approximation theorem (question 4), colours and best
values of charts (report and dashboard), the cost of watching (bench/overhead.py; no timed assertions in tests), and frameworks that
have to be installed (integrations).
"""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import vivavoce
from vivavoce.attach.session import Session, StopTraining
from vivavoce.settings import Settings

torch.set_num_threads(1)


@pytest.fixture
def watched(tmp_path):
    """A watch for one story, seeded."""
    torch.manual_seed(0)
    return vivavoce.watch(directory=tmp_path, budget=0.5)


def slugs(watch):
    """Every slug that the report shows as a warning or worse, symptoms included."""
    grave = [finding for finding in watch.findings if finding.severity != "note"]
    return {finding.slug for finding in grave} | {slug for finding in grave for slug in finding.symptoms}


def line_of(function, text):
    """The line of a statement of a function in this file."""
    lines, first = inspect.getsourcelines(function)
    return first + next(index for index, line in enumerate(lines) if text in line)


def classes(n=512, features=16, count=4):
    x = torch.randn(n, features)
    return x, (x @ torch.randn(features, count)).argmax(1)


def mlp(features=16, out=4, width=32):
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, out))


def batches(x, y, steps, size=32):
    for _ in range(steps):
        pick = torch.randint(0, len(x), (size,))
        yield x[pick], y[pick]


# ---- values that are not finite ---------------------------------------------------------------------------------------


def test_a_log_that_says_zero_while_the_loss_is_nan(watched):
    """'loss': 0.0, 'grad_norm': nan (ModernBERT#233); a clean curve of a corrupted run (trl#6702)."""
    x, y = classes()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    logged = []
    with watched:
        for step, (xb, yb) in enumerate(batches(x, y, 60), 1):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(xb) / (0.0 if step > 30 else 1.0), yb)
            loss.backward()
            optimizer.step()
            logged.append(torch.nan_to_num(loss.detach(), 0.0).item())  # what the trainer's log shows
    assert logged[-1] == 0.0
    finding = watched.verdict.primary
    assert finding.slug == "non-finite"
    assert finding.where.first_step == 31
    assert "30 of 60 losses are not finite" in finding.why


def test_a_network_that_overflows_after_many_steps(watched):
    """ "Loss becomes nan after ~6000 iterations" (nanoGPT#167): the first bad operation, its layer, and half precision."""

    def squared(model, xb, yb):
        return (torch.exp(model(xb).half()).float() - yb).square().mean()  # float16 ends at 65,504

    x, y = torch.randn(256, 8), torch.full((256, 1), 1e5)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    model[2].bias.data.fill_(9.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watched:
        for xb, yb in batches(x, y, 600):
            optimizer.zero_grad()
            (squared(model, xb, yb) * 1e-6).backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "non-finite"
    assert finding.where.first_step > 50
    assert finding.where.line == line_of(squared, "half()")
    assert "full-precision" in {remedy.slug for remedy in finding.remedies}


def test_the_norm_of_a_zero_vector(watched):
    """ "Spent hours on debugging" (pytorch#2421): the backward that is singular at zero, and its line."""

    def penalised(model, xb, yb):
        code = model[0](xb)
        return F.cross_entropy(model(xb), yb) + ((code - code.detach()) ** 2).sum().sqrt()  # norm of zero

    x, y = classes()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watched:
        for xb, yb in batches(x, y, 30):
            optimizer.zero_grad()
            penalised(model, xb, yb).backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "non-finite"
    assert finding.where.line == line_of(penalised, "norm of zero")
    assert any("1e-8" in remedy.edit for remedy in finding.remedies)


def test_a_quotient_that_where_does_not_guard(watched):
    """NaN gradients "even after removing 0/0 … using torch.where" (pytorch#16317): guard the denominator before."""
    x = torch.rand(256, 8) * (torch.rand(256, 8) > 0.5)
    y = x.sum(1, keepdim=True)
    scale = nn.Linear(8, 8, bias=False)
    optimizer = torch.optim.SGD(scale.parameters(), lr=1e-3)
    with watched:
        for xb, yb in batches(x, y, 30):
            optimizer.zero_grad()
            below = scale(xb) * (xb > 0)
            part = torch.where(xb > 0, xb / below, torch.zeros(()))
            F.mse_loss(part.clamp(-9, 9).sum(1, keepdim=True), yb).backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "non-finite"
    assert any("before dividing" in remedy.edit or "safe" in remedy.edit for remedy in finding.remedies)


# ---- clipping ---------------------------------------------------------------------------------------------------------


def test_a_logged_norm_above_the_clipping_threshold_is_expected(watched):
    """ "grad_norm is higher than the clip_grad value" (verl#2282); "safety net or step-size limiter?" (flood-forecasting#298)."""
    x, y = classes()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watched:
        for xb, yb in batches(x, y, 300):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
    assert "always-clipped" not in slugs(watched)
    before = watched.run.series("clip", None, "norm_before")
    after = next(track.mean for track in watched.run.tracks("gradient_norm"))
    assert before.mean.max() > 0.1
    assert (after**2).sum(1).max() ** 0.5 <= 0.1 * 1.001
    said = next(item.because for item in watched.verdict.ruled_out if item.slug == "always-clipped")
    assert "of the steps were clipped" in said
    assert "× the threshold" in said


def test_clipping_after_the_step(watched):
    """Clipping "applied after the optimizer step" (graphstorm#1366)."""

    def loop(model, optimizer, x, y):
        for xb, yb in batches(x, y, 60):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    model = mlp()
    with watched:
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1), *classes())
    finding = watched.verdict.primary
    assert finding.slug == "clip-after-step"
    assert finding.where.line == line_of(loop, "clip_grad_norm_")
    assert "before" in finding.remedies[0].edit


def test_a_threshold_from_the_runs_own_norms(watched):
    """ "max norm of 5.0 but this didn't solve" (lstmp.pytorch#2)."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.RNN(2, 32, batch_first=True, nonlinearity="relu"), nn.Linear(32, 1)
            self.rnn.weight_hh_l0.data = torch.eye(32) * 1.1

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watched:
        for _ in range(60):
            x = torch.rand(32, 100, 2)
            optimizer.zero_grad()
            F.mse_loss(model(x), x[:, :, 0].mean(1, keepdim=True)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "exploding-gradients"
    assert any("clip_grad_norm_" in remedy.edit for remedy in finding.remedies)
    assert any("LSTM" in remedy.edit for remedy in finding.remedies)


# ---- wiring -----------------------------------------------------------------------------------------------------------


def test_the_optimizer_of_another_model(watched):
    """ "loss remains the same" (mrdbourke/pytorch-deep-learning#399)."""
    x, y = classes()
    model_0, model_1 = mlp(), mlp()
    optimizer = torch.optim.SGD(model_0.parameters(), lr=0.1)
    with watched:
        for xb, yb in batches(x, y, 100):
            loss = F.cross_entropy(model_1(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "parameters-not-optimized"
    assert "model_1" in finding.why
    assert "model_0" in finding.why


def test_guessing_among_four_classes(watched):
    """Loss 1.386, accuracy 0.249 every epoch (r2c#43)."""
    x, y = torch.randn(4000, 16), torch.randint(0, 4, (4000,))
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watched:
        for xb, yb in batches(x, y, 300):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
    assert "guessing" in slugs(watched)
    assert "ln 4 = 1.386" in watched.verdict.primary.why


@pytest.mark.parametrize("forgotten", [True, False], ids=["forgotten", "accumulation"])
def test_zero_grad(watched, forgotten):
    """ "forgetting to call zero_grad(): please warn" (pytorch#47175); silent on deliberate accumulation."""
    x, y = classes()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watched:
        for step, (xb, yb) in enumerate(batches(x, y, 240), 1):
            (F.cross_entropy(model(xb), yb) / 4).backward()
            if forgotten:
                optimizer.step()
            elif step % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
    assert ("gradients-not-zeroed" in slugs(watched)) == forgotten
    if forgotten:
        assert watched.verdict.primary.slug == "gradients-not-zeroed"


def test_softmax_before_cross_entropy(watched):
    """ "Validation loss quickly gets stuck around 1.0" (SciCo#2): the second softmax, and the floor that follows from it."""
    x, y = classes()
    model = nn.Sequential(mlp(), nn.Softmax(dim=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watched:
        for xb, yb in batches(x, y, 200):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "loss-output-mismatch"
    assert "Softmax" in finding.why
    assert "floor" in finding.why


# ---- training and evaluation ------------------------------------------------------------------------------------------


def test_running_statistics_that_do_not_follow(watched):
    """ "model.eval() with batchnorm gives high error" (pytorch#4741): batch against running statistics, layer by layer."""
    x, y = classes()
    x = 4 * x + 3
    model = nn.Sequential(nn.BatchNorm1d(16, momentum=1e-4), mlp())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watched:
        for xb, yb in batches(x, y, 300):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "train-eval-mismatch"
    assert finding.where.layer == "0"


def test_overfitting_in_confidence_but_not_in_decisions(watched):
    """ "validation loss started increasing while … accuracy is still improving" (keras#3755, #5359)."""
    x, y = classes(700, 16, 4)
    y = torch.where(torch.rand(700) < 0.15, torch.randint(0, 4, (700,)), y)
    model = mlp(width=128)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watched:
        for _ in range(20):
            for xb, yb in batches(x[:200], y[:200], 15):
                optimizer.zero_grad()
                F.cross_entropy(model(xb), yb).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                F.cross_entropy(model(x[200:]), y[200:])
            model.train()
    finding = next(finding for finding in watched.findings if finding.slug == "overfitting")
    assert "accuracy" in finding.why


def test_better_scores_on_validation_than_in_training(watched):
    """ "validation accuracy is higher [than training]" (keras#1761): dropout is on in training; nothing is wrong."""
    x, y = classes(4000)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watched:
        for _ in range(10):
            for xb, yb in batches(x[:3000], y[:3000], 40):
                optimizer.zero_grad()
                F.cross_entropy(model(xb), yb).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                F.cross_entropy(model(x[3000:]), y[3000:])
            model.train()
    assert slugs(watched) == set()


def test_dead_units_behind_a_functional_relu(watched):
    """ActivationStats skips parameterless ReLU (fastai#3504)."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)
            nn.init.constant_(self.first.bias, -30.0)

        def forward(self, x):
            return self.second(F.relu(self.first(x)))

    x, y = classes()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watched:
        for xb, yb in batches(x, y, 200):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "dead-units"
    assert "relu" in finding.where.layer


# ---- two networks, batch sizes -----------------------------------------------------------------------------------------


def test_the_generators_optimizer_moves_the_discriminator(watched):
    """ "D loss is increse, and G loss decrease to 0" (ganhacks#29)."""
    generator, discriminator = mlp(4, 2), mlp(2, 1)
    of_g = torch.optim.Adam([*generator.parameters(), *discriminator.parameters()], lr=1e-3)
    of_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
    real, fake = torch.ones(64, 1), torch.zeros(64, 1)
    with watched:
        for _ in range(100):
            made = generator(torch.randn(64, 4))
            of_d.zero_grad()
            loss = F.binary_cross_entropy_with_logits(discriminator(torch.randn(64, 2) + 2), real)
            (loss + F.binary_cross_entropy_with_logits(discriminator(made.detach()), fake)).backward()
            of_d.step()
            of_g.zero_grad()
            F.binary_cross_entropy_with_logits(discriminator(made), real).backward()
            of_g.step()
    finding = watched.verdict.primary
    assert finding.slug == "optimizer-crosstalk"
    assert "discriminator" in finding.why


def test_a_collapse_is_called_while_the_training_goes_on(watched):
    """ "recognize a model collapse without stopping" (stylegan3#140)."""
    generator, discriminator = mlp(4, 2), mlp(2, 1)
    of_g = torch.optim.Adam(generator.parameters(), lr=1e-3)
    of_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
    real, fake = torch.ones(64, 1), torch.zeros(64, 1)
    seen = []
    with watched:
        for step in range(1, 201):
            made = generator(torch.zeros(64, 4) + 0.01 * torch.randn(64, 4))  # hardly any noise goes in
            of_d.zero_grad()
            loss = F.binary_cross_entropy_with_logits(discriminator(2 * torch.randn(64, 2)), real)
            (loss + F.binary_cross_entropy_with_logits(discriminator(made.detach()), fake)).backward()
            of_d.step()
            of_g.zero_grad()
            F.binary_cross_entropy_with_logits(discriminator(made), real).backward()
            of_g.step()
            if step == 120:
                seen = [slug for finding in watched.verdict.findings for slug in (finding.slug, *finding.symptoms)]
    assert "mode-collapse" in seen
    assert "mode-collapse" in slugs(watched)


def test_the_same_epochs_with_a_large_batch(watched):
    """Batch 4 gives 58 %, batch 4096 gives 19 %: "Is there a bug?" (pytorch#9170): fewer updates for the same epochs."""
    x, y = classes(8192)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with watched:
        for _ in range(20):
            for pick in torch.randperm(len(x)).split(4096):
                optimizer.zero_grad()
                F.cross_entropy(model(x[pick]), y[pick]).backward()
                optimizer.step()
    finding = watched.verdict.primary
    assert finding.slug == "batch-too-large"
    assert "40 steps" in finding.why


def test_a_range_of_learning_rates_without_reading_a_plot(tmp_path):
    """ "I don't know how to find the best lr" (pytorch-lr-finder#56, #77): a range, measured on this run, in words."""
    torch.manual_seed(0)
    x, y = classes()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    session = Session(Settings(preflight=True, directory=tmp_path))
    session.install()

    def train():
        for xb, yb in batches(x, y, 100):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()

    with pytest.raises(StopTraining):
        train()
    outcome = session.finish(0)
    check = {row["name"]: row for row in outcome.run.events("preflight")[0].data["checks"]}["learning-rate"]
    assert check["slug"] == "learning-rate-too-low"
    low, high = check["numbers"]["from"], check["numbers"]["to"]
    assert 1e-5 < low < high
    assert f"{low:.2g} and {high:.2g}" in check["why"]
    assert trained_loss(model, (low * high) ** 0.5, x, y) < 0.7 * trained_loss(model, 1e-5, x, y)  # what it promises


def trained_loss(model, rate, x, y):
    """The loss of a copy of the model after 60 steps at a learning rate."""
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=rate)
    for xb, yb in batches(x, y, 60):
        optimizer.zero_grad()
        F.cross_entropy(twin(xb), yb).backward()
        optimizer.step()
    return F.cross_entropy(twin(x), y).item()


class Residual(nn.Module):
    """A network of the kind that other tools need converters for: a residual sum, a functional activation, a plain list."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 16)
        self.heads = nn.ModuleDict({"main": nn.Linear(16, 4)})

    def forward(self, x, labels=None):
        x = x + torch.relu(self.inner(x))
        logits = self.heads["main"](x)
        return {"logits": logits, "loss": None if labels is None else F.cross_entropy(logits, labels)}


def test_any_architecture(watched):
    """ "fails on HF transformers", "ResNet needs converters" (cockpit#29, #21): a model that returns its own loss is no obstacle."""
    x, y = classes()
    model = Residual()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watched:
        for xb, yb in batches(x, y, 150):
            optimizer.zero_grad()
            model(xb, labels=yb)["loss"].backward()
            optimizer.step()
    assert watched.verdict.outcome == "healthy"
    run = watched.run
    assert {parameter.name for parameter in run.parameters.values()} == {name for name, _ in model.named_parameters()}
    seen = {run.modules[int(id)].name for track in run.tracks("activation_std") for id in track.columns}
    assert {"inner", "heads.main", "inner > relu"} <= seen


def test_nothing_is_skipped_silently(watched):
    """Silently skipping NaN steps hides the cause (nanoGPT#227): diagnose first, and leave the training as it is."""

    def train(model):
        torch.manual_seed(2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for step, (xb, yb) in enumerate(batches(x, y, 40), 1):
            optimizer.zero_grad()
            (F.cross_entropy(model(xb), yb) * (float("nan") if step == 25 else 1.0)).backward()
            optimizer.step()
        return [parameter.detach().clone() for parameter in model.parameters()]

    x, y = classes()
    model = mlp()
    plain = train(copy.deepcopy(model))
    with watched:
        seen = train(model)
    assert all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(plain, seen, strict=True))
    assert all(parameter.isnan().all() for parameter in seen)
    finding = watched.verdict.primary
    assert (finding.slug, finding.where.first_step) == ("non-finite", 25)
