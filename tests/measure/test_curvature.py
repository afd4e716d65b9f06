"""Lanczos against dense eigenvalues, Hessian-vector products against autograd's dense Hessian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vivavoce.measure.curvature import extreme_eigenvalues
from vivavoce.measure.hessian import hessian_product, sharpness


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("size", [1, 2, 5, 200])
def test_extremes_within_one_percent(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((size, size))
    matrix = matrix + matrix.T + np.diag(random.exponential(5, size))
    values = np.linalg.eigvalsh(matrix)
    found = extreme_eigenvalues(lambda v: matrix @ v, size, seed=seed)
    assert found.largest == pytest.approx(values[-1], rel=1e-2)
    assert np.min(np.abs(values - found.largest)) <= found.residual + 1e-9 * np.max(np.abs(values))


def test_clustered_and_degenerate_operators() -> None:
    assert extreme_eigenvalues(lambda v: 3 * v, 50).largest == pytest.approx(3)
    assert extreme_eigenvalues(np.zeros_like, 50).critical_rate == float("inf")
    close = np.append(np.full(99, 1.0), 1.01)
    assert extreme_eigenvalues(lambda v: close * v, 100).largest == pytest.approx(1.01, rel=1e-2)
    with pytest.raises(ValueError, match="finite"):
        extreme_eigenvalues(lambda v: v * np.nan, 3)
    with pytest.raises(ValueError, match="dimension"):
        extreme_eigenvalues(lambda v: v, 0)


def test_sharpness_of_a_network_equals_the_dense_hessian() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    x, y = torch.randn(40, 3).double(), torch.randn(40, 1).double()
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*parameters: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(
            torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), x), y
        )

    blocks = torch.autograd.functional.hessian(loss, tuple(values))
    rows = [torch.cat([b.reshape(p.numel(), -1) for b in row], 1) for p, row in zip(values, blocks, strict=True)]
    dense = torch.cat(rows).detach().numpy()
    product, size = hessian_product(nn.functional.mse_loss(model(x), y), model.parameters())
    vector = np.random.default_rng(0).standard_normal(size)
    np.testing.assert_allclose(product(vector), dense @ vector, atol=1e-10)
    found = sharpness(nn.functional.mse_loss(model(x), y), model.parameters())
    assert found.largest == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-2)
    assert all(p.grad is None for p in model.parameters())


def test_a_loss_without_curvature_and_one_without_parameters() -> None:
    weight = nn.Parameter(torch.ones(3))
    assert sharpness((2 * weight).sum(), [weight]).largest == 0
    with pytest.raises(ValueError, match="requires a gradient"):
        hessian_product(torch.zeros(()), [torch.zeros(3)])
