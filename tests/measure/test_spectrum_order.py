"""The F-test against scipy, its false alarms, and runs whose data order is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special, stats

from vivavoce.measure.spectrum_order import beta_share, data_order, f_tail

Floats = NDArray[np.float64]


@pytest.mark.parametrize("f", [0.01, 0.9, 1.0, 1.3, 4.0, 100.0])
@pytest.mark.parametrize(("above", "below"), [(1, 1), (2, 30), (45, 90), (400, 1200), (3, 5000)])
def test_the_tail_of_f_equals_scipy(f: float, above: int, below: int) -> None:
    assert f_tail(f, above, below) == pytest.approx(stats.f.sf(f, above, below), rel=1e-8, abs=1e-250)


@pytest.mark.parametrize("x", [0.0, 1e-6, 0.3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (2, 7), (50, 3)])
def test_the_beta_function_equals_scipy(x: float, a: float, b: float) -> None:
    assert beta_share(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-10, abs=1e-300)


def test_the_tail_at_its_ends() -> None:
    assert f_tail(0.0, 3, 4) == 1.0
    assert f_tail(float("inf"), 3, 4) == 0.0


def losses(order: Floats, epochs: int, rng: np.random.Generator) -> Floats:
    """A falling loss that also depends on the batch: `order` (positions,) is its effect in every epoch."""
    n = epochs * len(order)
    return np.asarray(np.exp(np.tile(order, epochs) - 2 * np.arange(n) / n + 0.1 * rng.standard_normal(n)))


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    chances = [data_order(losses(np.zeros(40), 4, rng), 40).p for _ in range(2_000)]
    assert stats.kstest(chances, "uniform").pvalue > 1e-3


def test_a_fixed_order_is_found_and_its_profile_told() -> None:
    rng = np.random.default_rng(1)
    order = 0.3 * rng.standard_normal(40)
    found = data_order(losses(order, 4, rng), 40)
    assert found.fixed
    assert np.corrcoef(found.profile, order[:-1])[0, 1] > 0.9
    assert (found.epochs, found.positions) == (3, 39)


@pytest.mark.parametrize("last", [0, 13])
def test_the_course_of_learning_is_no_order(last: int) -> None:
    rng = np.random.default_rng(2)
    fast = np.exp(3 * np.exp(-np.arange(160) / 60) + 0.05 * rng.standard_normal(160))
    assert not data_order(np.append(fast, np.ones(last)), 40).fixed


def test_constant_losses_have_no_order() -> None:
    found = data_order(np.ones(30), 10)
    assert (found.p, found.share) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("loss", "epoch", "message"),
    [
        (np.ones(10), 10, "2 epochs of 8 steps are needed, got 10 losses of 10"),
        (np.ones(10), 0, "needed"),
        (np.ones(12), 6, "needed"),
        (-np.ones(20), 10, "positive and finite"),
        (np.full(20, np.nan), 10, "positive and finite"),
    ],
)
def test_bad_losses_are_refused(loss: Floats, epoch: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data_order(loss, epoch)


def trained(shuffle: bool, seed: int, epochs: int = 4) -> tuple[list[float], int]:
    """Losses of a small network on data sorted by class."""
    torch.manual_seed(seed)
    labels = torch.arange(4).repeat_interleave(160)
    x = torch.randn(640, 8) + 2 * torch.nn.functional.one_hot(labels, 8)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for _ in range(epochs):
        order = torch.randperm(640) if shuffle else torch.arange(640)
        for rows in order.split(16):
            loss = torch.nn.functional.cross_entropy(model(x[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found, 40


@pytest.mark.parametrize("seed", range(5))
def test_sorted_data_are_found_and_shuffled_are_not(seed: int) -> None:
    assert data_order(*trained(False, seed)).fixed
    assert not data_order(*trained(True, seed)).fixed
