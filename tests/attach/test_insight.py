"""The numbers of the insight tap against NumPy, SciPy and scikit-learn."""

import numpy as np
import pytest
import torch
from torch import nn

from vivavoce.attach import insight


def test_equal_units_counts_rows_that_equal_the_first():
    weight = torch.randn(5, 3)
    weight[[1, 3]] = weight[0].clone()
    assert float(insight._equal_units(weight)) == pytest.approx(2 / 4)
    assert insight._equal_units(torch.randn(5)) is None


def test_ranks_of_wrong_labels():
    scores = torch.tensor([[5.0, 4, 3, 2, 1], [5, 4, 3, 2, 1], [5, 4, 3, 2, 1], [9, 1, 1, 1, 0]])
    row = insight._doubt("cross_entropy", scores, torch.tensor([0, 1, 4, 1])).tolist()
    wrong, rank, half, quarter, examples, errors = row
    assert (wrong, examples, errors) == (0.75, 4, 3)
    assert rank == pytest.approx(
        (0 + 1 + 0) / 3
    )  # a runner-up, the least probable of four others, one that shares a place
    assert (half, quarter) == (0.5, 1.0)  # the surest is wrong, the next, first of three equals, is right


@pytest.mark.parametrize("function", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_wrong_answers_to_yes_or_no(function):
    logits = torch.tensor([[4.0], [-3.0], [2.0], [-1.0], [0.5], [-0.4], [0.3], [0.2]])
    yes = torch.tensor([[0.0], [0.0], [1.0], [1.0], [0.0], [0.0], [1.0], [1.0]])
    given = logits.sigmoid() if function == "binary_cross_entropy" else logits
    wrong, rank, half, quarter, examples, errors = insight._doubt(function, given, yes).tolist()
    assert (wrong, half, quarter, examples, errors) == (3 / 8, 2 / 4, 1 / 2, 8, 3)
    assert np.isnan(rank)


def test_soft_answers_are_not_doubted():
    assert insight._doubt("binary_cross_entropy", torch.rand(8), torch.full((8,), 0.5)).isnan().all()


def test_random_labels_rank_in_the_middle():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20_000, 10, generator=generator)
    labels = torch.randint(0, 10, (20_000,), generator=generator)
    assert insight._doubt("cross_entropy", scores, labels)[1].item() == pytest.approx(0.5, abs=0.01)


def test_state_of_a_batch_normalisation():
    module = nn.BatchNorm1d(3)
    x = torch.randn(50, 3) * torch.tensor([1.0, 2.0, 3.0]) + 5
    module.running_mean.fill_(4.0)
    module.running_var.fill_(2.0)
    shift, scale, count = insight._norm_state(module, x).tolist()
    mean, variance = x.numpy().mean(0), x.numpy().var(0)
    assert shift == pytest.approx(np.sqrt(np.mean((mean - 4) ** 2 / 2)), rel=1e-4)
    assert scale == pytest.approx(max(variance.sum() / 6, 6 / variance.sum()), rel=1e-4)
    assert count == 0


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, 0.0, momentum=0.9), lambda p: torch.optim.Adam(p, 0.0)], ids=["sgd", "adam"])  # fmt: skip
def test_the_mean_of_constant_gradients_is_the_gradient(make):
    """Momentum brought to weight 1: where all gradients are the same, product and both squares are equal."""
    weight = nn.Parameter(torch.zeros(6, 2))
    optimizer = make([weight])
    for steps in range(1, 8):
        optimizer.zero_grad()
        (weight * torch.arange(12.0).reshape(6, 2)).sum().backward()
        if steps > 1:
            triple = insight._lag_products(weight, optimizer.state[weight], optimizer.param_groups[0], steps - 1)
            assert triple.tolist() == pytest.approx([float((torch.arange(12.0) ** 2).sum())] * 3, rel=1e-4)
        optimizer.step()


def test_noise_and_signal_of_the_gradient():
    """A gradient of 1 plus noise of deviation 2 in 5,000 elements: E g·m = |G|², E g·g = |G|² + tr Σ."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.zeros(5_000, 1))
    optimizer = torch.optim.SGD([weight], 0.0, momentum=0.9)
    ratios = []
    for steps in range(60):
        optimizer.zero_grad()
        weight.grad = 1 + 2 * torch.randn(5_000, 1, generator=generator)
        if steps > 20:
            product, square, _ = insight._lag_products(
                weight, optimizer.state[weight], optimizer.param_groups[0], steps
            )
            ratios.append(float(product / square))
        optimizer.step()
    assert np.mean(ratios) == pytest.approx(1 / (1 + 2**2), rel=0.05)


def test_nothing_is_said_of_what_is_not_understood():
    assert insight._doubt("cross_entropy", torch.randn(8, 5), torch.rand(8, 5)) is None
    assert insight._doubt("mse_loss", torch.randn(8, 5), torch.zeros(8, dtype=torch.long)) is None
    assert insight._lag_products(nn.Parameter(torch.zeros(3)), None, {}, 1) is None
    assert insight._norm_state(nn.BatchNorm1d(3, track_running_stats=False), torch.randn(8, 3)) is None
