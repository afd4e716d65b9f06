"""What scripts do without loss functions, layers or optimizers for all they make: small networks trained under the real taps."""

import pytest
import torch
from networks import X, Y, mlp
from torch import nn
from torch.nn import functional as F
from watching import alarms, fit, primary

X_LINE = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
Y_LINE = 3 * X_LINE[:, :1] - X_LINE[:, 1:2]


def regressor(*last):
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), *last)


def squares(output, target):
    return ((output - target) ** 2).mean()


def absolutes(output, target):
    return (output - target).abs().mean()


def huber(output, target):
    return F.huber_loss(output, target)  # looked up here: a watch sees functions that are looked up while it goes on


def absolutes_by_function(output, target):
    return F.l1_loss(output, target)


@pytest.mark.parametrize("loss", [squares, absolutes, huber, absolutes_by_function])
def test_targets_that_belong_to_other_inputs(watched, loss):
    model = regressor()
    mixed = Y_LINE[torch.randperm(len(Y_LINE))]
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 5e-3), X_LINE, mixed, 300, 64, loss)
    assert primary(watched) == "label-noise"


@pytest.mark.parametrize("loss", [squares, absolutes, huber, absolutes_by_function])
def test_the_same_with_their_own_targets_is_healthy(watched, loss):
    model = regressor()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 5e-3), X_LINE, Y_LINE, 300, 64, loss)
    assert alarms(watched) == set()


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Tanh(), nn.Softplus()])
def test_squares_of_a_squashed_output_that_cannot_reach_the_targets(watched, last):
    model = regressor(last)
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 5e-3), X_LINE, Y_LINE, 200, 64, squares)
    assert primary(watched) == "output-range"


@pytest.mark.parametrize(("least", "right"), [(-0.5, "output-range"), (-30.0, "healthy")])
def test_outputs_that_are_cut(watched, least, right):
    model = regressor()
    with watched:
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        fit(lambda x: model(x).clamp(least, -least), optimizer, X_LINE, Y_LINE, 300, 64, huber)
    assert primary(watched) == right


def test_squares_of_a_squashed_output_within_its_range(watched):
    model = regressor(nn.Sigmoid())
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 1e-2), X_LINE, torch.sigmoid(Y_LINE), 400, 64, squares)
    assert alarms(watched) == set()


def test_matrices_without_a_layer_that_start_constant(watched):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1 = nn.Parameter(torch.full((64, 24), 0.05))
            self.w2 = nn.Parameter(torch.full((24, 10), 0.05))

        def forward(self, x):
            return torch.tanh(x @ self.w1) @ self.w2

    model = Net()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 200)
    assert primary(watched) == "symmetric-weights"


def test_factors_that_keep_one_another_at_zero(watched):
    left, right, bias = nn.Embedding(50, 8), nn.Embedding(40, 8), nn.Embedding(40, 1)
    nn.init.zeros_(left.weight)
    nn.init.zeros_(right.weight)
    model = nn.ModuleList([left, right, bias])
    rows, columns = torch.randint(0, 50, (800,)), torch.randint(0, 40, (800,))
    ratings = torch.sin(rows * 0.3) * torch.cos(columns * 0.5) + 0.1 * columns
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with watched:
        for _ in range(150):
            k = torch.randint(0, 800, (64,))
            guess = (left(rows[k]) * right(columns[k])).sum(1) + bias(columns[k]).squeeze(1)
            optimizer.zero_grad()
            F.mse_loss(guess, ratings[k]).backward()
            optimizer.step()
    assert primary(watched) == "symmetric-weights"


class Adapted(nn.Module):
    """A layer that keeps its weights, beside a product of two small matrices of which one begins at zero (LoRA)."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(8, layer.in_features) / 8)
        self.up = nn.Parameter(torch.zeros(layer.out_features, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T


def test_adapters_begin_at_zero_and_do_not_stay_there(watched):
    model = nn.Sequential(Adapted(nn.Linear(64, 48)), nn.ReLU(), Adapted(nn.Linear(48, 10)))
    with watched:
        fit(model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-7), X, Y, 300)
    assert primary(watched) == "learning-rate-too-low"


def test_a_softmax_over_the_examples_written_by_hand(watched):
    def likelihood(logits, labels):
        e = logits.exp()
        return -torch.log((e / e.sum(0, keepdim=True))[torch.arange(len(labels)), labels]).mean()

    model = mlp()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 150, 32, likelihood)
    assert primary(watched) == "loss-output-mismatch"


def test_an_encoder_that_nobody_trains(watched):
    encoder, head = nn.Sequential(nn.Linear(64, 48), nn.ReLU()), nn.Linear(48, 10)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    with watched:
        for _ in range(200):
            k = torch.randint(0, len(X), (32,))
            optimizer.zero_grad()
            F.cross_entropy(head(encoder(X[k])), Y[k]).backward()
            optimizer.step()
    assert primary(watched) == "parameters-not-optimized"


def test_an_encoder_that_was_trained_before_is_left_as_it_is(watched):
    encoder, head = nn.Sequential(nn.Linear(64, 48), nn.ReLU()), nn.Linear(48, 10)
    with torch.no_grad():
        encoder[0].weight.mul_(1.6)  # as training would have changed it
    optimizer = torch.optim.Adam(head.parameters(), 2e-2)
    with watched:
        for _ in range(400):
            k = torch.randint(0, len(X), (32,))
            optimizer.zero_grad()
            F.cross_entropy(head(encoder(X[k])), Y[k]).backward()
            optimizer.step()
    assert alarms(watched) == set()


def test_the_second_of_two_optimizers_never_steps(watched):
    body, critic = nn.Sequential(nn.Linear(64, 32), nn.ReLU()), nn.Linear(32, 2)
    first = torch.optim.Adam(body.parameters(), 3e-3)
    with watched:
        second = torch.optim.Adam(critic.parameters(), 3e-3)
        for _ in range(150):
            k = torch.randint(0, len(X), (32,))
            first.zero_grad()
            second.zero_grad()
            F.cross_entropy(critic(body(X[k])), Y[k] % 2).backward()
            first.step()
    assert "parameters-not-optimized" in alarms(watched)


def test_inputs_of_another_scale_in_evaluation(watched):
    model = mlp()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 200)
        model.eval()
        with torch.no_grad():
            model(100 * X + 40).argmax(1)
    assert primary(watched) == "train-eval-mismatch"


def test_inputs_of_the_same_scale_in_evaluation(watched):
    model = mlp()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 200)
        model.eval()
        with torch.no_grad():
            model(X[:40]).argmax(1)
    assert alarms(watched) == set()


def test_an_evaluation_leaves_no_hook_behind(watched):
    hooks = nn.modules.module._global_forward_pre_hooks
    model = mlp()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 30)
        model.eval()
        assert len(hooks) == 1
        model(X[:8])
        assert not hooks
        model.train()
        fit(model, torch.optim.Adam(model.parameters(), 3e-3), X, Y, 30)
    assert not hooks


def test_hardly_any_steps(watched):
    model = mlp()
    with watched:
        fit(model, torch.optim.Adam(model.parameters(), 1e-3), X, Y, 8)
    assert primary(watched) == "stopped-too-early"


def test_few_steps_with_a_closure_are_many(watched):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=10)

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(X_LINE), Y_LINE)
        loss.backward()
        return loss

    with watched:
        for _ in range(10):
            optimizer.step(closure)
    assert alarms(watched) == set()


def test_an_optimizer_that_wears_itself_out(watched):
    model = mlp()
    with watched:
        fit(model, torch.optim.Adagrad(model.parameters(), 2e-3, lr_decay=1.0), X, Y, 400)
    assert primary(watched) == "learning-rate-too-low"


def test_rare_positives_are_no_label_noise(watched):
    """One in thirty: the loss hardly falls below a constant's, on validation data not at all, although the ranking is good."""
    x = torch.randn(4000, 16)
    y = (torch.rand(4000) < torch.sigmoid(1.8 * x[:, 0] * x[:, 1] + 1.5 * x[:, 2] - x[:, 3] ** 2 - 4.8)).float()[
        :, None
    ]
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    with watched:
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        fit(model, optimizer, x[:3000], y[:3000], 400, 64, F.binary_cross_entropy_with_logits, (x[3000:], y[3000:]))
    assert "label-noise" not in alarms(watched)


def test_strong_augmentation_is_no_label_noise(watched):
    """Half of the augmented training images are classified wrongly, and nearly all clean ones rightly."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with watched:
        for step in range(1, 501):
            k = torch.randint(0, 1400, (48,))
            seen = (X[k] + 0.4 * torch.randn(48, 64)) * (torch.rand(48, 64) > 0.7)
            optimizer.zero_grad()
            F.cross_entropy(model(seen), Y[k]).backward()
            optimizer.step()
            if step % 50 == 0:
                model.eval()
                with torch.no_grad():
                    F.cross_entropy(model(X[1400:]), Y[1400:])
                model.train()
    assert alarms(watched) == set()


@pytest.mark.parametrize("how", ["minus", "maximize"])
def test_a_loss_that_is_maximised(watched, how):
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, maximize=how == "maximize")
    with watched:
        for _ in range(200):
            k = torch.randint(0, len(X), (32,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X[k]), Y[k])
            (-loss if how == "minus" else loss).backward()
            optimizer.step()
    assert primary(watched) == "loss-output-mismatch"
    assert alarms(watched) == {"loss-output-mismatch"}


@pytest.mark.parametrize(("decay", "warmed"), [(60, False), (60, True), (4, False)])
def test_a_decay_that_adamw_applies_by_itself(watched, decay, warmed):
    """How far it shrinks the weights hangs on the rates of all steps, not on the first one."""
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=decay)
    if warmed:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=301, div_factor=1e4)
        optimizer.register_step_post_hook(lambda *_: schedule.step())
    with watched:
        fit(model, optimizer, X, Y, 300)
    assert primary(watched) == "underfitting"


def test_batches_that_become_easier_by_themselves_hide_no_network_that_stands_still(watched):
    """As with a policy that makes its own data: the loss falls, and no weight has changed."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-7)
    with watched:
        for step in range(400):
            k = torch.randint(0, len(X), (32,))
            optimizer.zero_grad()
            ((model(X[k]) - 1) * (1 - step / 500)).square().mean().backward()
            optimizer.step()
    assert primary(watched) == "learning-rate-too-low"


@pytest.mark.parametrize(("momentum", "found"), [(0.999, True), (0.9, False)])
def test_a_momentum_that_goes_past_the_minimum(watched, momentum, found):
    model = mlp()
    with watched:
        fit(model, torch.optim.SGD(model.parameters(), 0.05, momentum=momentum), X, Y, 500)
    assert ("oscillating-loss" in alarms(watched)) == found


def test_units_that_a_spike_of_the_gradient_killed(watched):
    """Some batches are ten thousand times too large, and the clipping threshold is no threshold."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched:
        for step in range(300):
            k = torch.randint(0, len(X), (32,))
            optimizer.zero_grad()
            F.cross_entropy(model(X[k] * (1e4 if step in (150, 160, 170) else 1)), Y[k]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
            optimizer.step()
    assert primary(watched) == "gradient-spikes"
    assert "dead-units" not in alarms(watched)
