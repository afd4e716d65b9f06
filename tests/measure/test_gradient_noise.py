"""The noise scale from chunks of an ordinary run against the exact covariance of all examples' gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vivavoce.measure.gradient_chunks import SpacedChunks, backward_in_chunks
from vivavoce.measure.gradient_noise import NoiseScale, exact_noise_scale, noise_scale

DIMENSIONS = 100
EXAMPLES = 1_000
STEPS = 100


def run(seed: int, batch: int, rate: float, ratio: float) -> tuple[float, float, tuple[float, float]]:
    """Train linear regression; return (true scale over the run, estimate, its interval), at B/B_noise about `ratio`."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((EXAMPLES, DIMENSIONS))
    w = random.standard_normal(DIMENSIONS) / np.sqrt(DIMENSIONS)
    # At w = 0: ‖G‖² ≈ 1 and tr Σ ≈ d (1 + σ²) + 1.
    noise = np.sqrt(max(0.0, batch / ratio / DIMENSIONS - 1))
    y = x @ w + noise * random.standard_normal(EXAMPLES)
    weights, collector, truth = np.zeros(DIMENSIONS), NoiseScale(), []
    for _ in range(STEPS):
        truth.append(exact_noise_scale(x * (x @ weights - y)[:, None]))
        rows = random.integers(0, EXAMPLES, batch)  # the examples are the population
        gradients = x[rows] * (x[rows] @ weights - y[rows])[:, None]
        chunks = gradients.reshape(4, -1, DIMENSIONS).mean(axis=1)
        mean = chunks.mean(axis=0)
        collector.update(np.sum(chunks**2, axis=1).tolist(), float(mean @ mean), batch)
        weights = weights - rate * mean
    trace, signal = np.mean(truth, axis=0)
    found = collector.estimate()
    return trace / signal, found.scale, (found.low, found.high)


def test_within_a_factor_of_1_3_after_100_steps_and_the_interval_covers() -> None:
    runs = [run(seed, 64, 1e-3, 0.1) for seed in range(12)]
    factors = [np.exp(abs(np.log(estimate / truth))) for truth, estimate, _ in runs]
    assert np.median(factors) < 1.3
    covered = sum(low <= truth <= high for truth, _, (low, high) in runs)
    assert covered >= 8  # of 12 at 90 %: fewer with probability 0.004


def test_statistics_of_chunks_are_unbiased() -> None:
    random = np.random.default_rng(1)
    mean, deviations = random.standard_normal(50), random.uniform(0.5, 2, 50)
    gradients = mean + deviations / np.sqrt(8) * random.standard_normal((2_000, 4, 50))  # chunks of 8 of a batch of 32
    found = noise_scale(gradients, 32)
    assert found.noise == pytest.approx(np.sum(deviations**2), rel=0.02)
    assert found.signal == pytest.approx(mean @ mean, rel=0.02)
    assert found.low < found.scale < found.high


def test_the_interval_covers_at_its_level() -> None:
    random, covered = np.random.default_rng(4), 0
    for _ in range(200):
        gradients = 0.6 + random.standard_normal((60, 4, 30)) / np.sqrt(8)
        found = noise_scale(gradients, 32)
        covered += found.low <= 1 / 0.36 <= found.high
    assert 170 <= covered <= 192  # 180 expected at 90 %; outside with probability 0.02


def test_no_signal_has_no_upper_end() -> None:
    random = np.random.default_rng(2)
    found = noise_scale(random.standard_normal((30, 4, 100)), 8)
    assert found.high == float("inf")
    assert found.low > 8


def test_exact_scale_of_two_gradients() -> None:
    assert exact_noise_scale([[1.0, 0.0], [3.0, 0.0]]) == (1.0, 4.0)


def test_chunks_give_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 1).double()
    x, y = torch.randn(16, 5).double(), torch.randn(16, 1).double()

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(model(inputs), targets)

    whole = loss(x, y)
    expected = torch.autograd.grad(whole, list(model.parameters()))
    collector = NoiseScale()
    for times in (1, 2):
        value = backward_in_chunks(loss, (x, y), model.parameters(), collector)
        assert value.item() == pytest.approx(whole.item())
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, times * gradient)
    chunks = []
    for rows in range(0, 16, 4):
        part = torch.autograd.grad(loss(x[rows : rows + 4], y[rows : rows + 4]), list(model.parameters()))
        chunks.append(torch.cat([g.reshape(-1) for g in part]).numpy())
    by_hand = noise_scale(np.array([chunks, chunks]), 16)
    assert collector.estimate().scale == pytest.approx(by_hand.scale)


def test_bad_input_is_refused() -> None:
    collector = NoiseScale()
    with pytest.raises(ValueError, match="two are needed"):
        collector.update([1.0], 1.0, 4)
    with pytest.raises(ValueError, match="equal chunks"):
        collector.update([1.0, 1.0], 1.0, 5)
    with pytest.raises(ValueError, match="two steps"):
        collector.estimate()
    with pytest.raises(ValueError, match="shape"):
        noise_scale([1.0, 2.0], 4)
    collector.update([float("nan"), 1.0], 1.0, 4)
    with pytest.raises(ValueError, match="two steps"):
        collector.estimate()


def test_spaced_chunks_give_the_gradients_of_backward() -> None:
    torch.manual_seed(0)
    model, scale = nn.Linear(5, 3), NoiseScale()
    spaced = SpacedChunks(model.parameters(), scale, every=3)
    for step in range(9):
        x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
        model.zero_grad()
        value = spaced.backward(lambda a, b: nn.functional.cross_entropy(model(a), b), (x, y))
        expected = nn.functional.cross_entropy(model(x), y)
        wanted = torch.autograd.grad(expected, list(model.parameters()))
        torch.testing.assert_close(value, expected.detach())
        for parameter, gradient in zip(model.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, msg=f"step {step}")
    assert scale.estimate().steps == 3


def test_spaced_chunks_see_the_product_with_the_mean_of_the_gradients_before() -> None:
    """A loss whose gradients are the batches' means: the second step's product is known."""
    weight, seen = nn.Parameter(torch.zeros(2)), []

    class Listening(NoiseScale):
        def update(self, squares, mean_square, batch, lag_product=float("nan")):  # type: ignore[no-untyped-def]
            seen.append((mean_square, lag_product))

    spaced = SpacedChunks([weight], Listening(), every=3)
    batches = [torch.full((4, 2), value) for value in (1.0, 3.0, 5.0)]
    for batch in batches:
        spaced.backward(lambda x: (x @ weight).mean(), (batch,))
    assert seen == [(pytest.approx(50.0), pytest.approx(2 * 5.0 * 2.0))]  # 5 with the mean of 1 and 3, over two weights
    assert weight.grad is not None
    assert weight.grad.tolist() == [9.0, 9.0]  # accumulated, as backward does


def test_lag_products_sharpen_the_estimate_and_are_left_out_where_they_disagree() -> None:
    random = np.random.default_rng(2)
    mean = np.full(40, 0.05)
    errors: dict[str, list[float]] = {"chunks": [], "lags": []}
    for _ in range(40):
        plain, lagged, moved = NoiseScale(), NoiseScale(), NoiseScale()
        for _ in range(12):
            chunks = mean + random.standard_normal((4, 40)) / 4
            before = mean + random.standard_normal(40) / 8 / np.sqrt(15)
            numbers = np.sum(chunks**2, axis=1).tolist(), float(np.sum(chunks.mean(axis=0) ** 2)), 64
            plain.update(*numbers)
            lagged.update(*numbers, float(chunks.mean(axis=0) @ before))
            moved.update(*numbers, 40.0)
        assert moved.estimate() == plain.estimate()
        for name, collector in (("chunks", plain), ("lags", lagged)):
            errors[name].append(collector.estimate().signal - float(mean @ mean))
    assert np.std(errors["lags"]) < 0.5 * np.std(errors["chunks"])
    assert abs(np.mean(errors["lags"])) < 4 * np.std(errors["lags"]) / np.sqrt(40)


def test_every_step_in_chunks_is_another_function() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        SpacedChunks([], NoiseScale(), every=1)
