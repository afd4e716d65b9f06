"""Random tanh layers against the functions they are fitted to, between the points they were fitted at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vivavoce.measure.approximation import chebyshev, fit_function, pieces_in_the_limit, random_tanh_layer


@pytest.mark.parametrize(
    ("function", "low"), [(lambda x: np.sin(8 * np.pi * x), 0), (lambda x: 1 / (1 + 25 * x**2), -1)]
)
def test_smooth_targets_to_ten_digits_by_width_128(function, low: float) -> None:
    grid = np.linspace(low, 1, 20_001)
    error = np.max(np.abs(fit_function(function, low, 1, 128)(grid) - function(grid)))
    assert error <= 1e-10


def test_two_inputs() -> None:
    def function(p: np.ndarray) -> np.ndarray:
        return np.exp(-np.sum(p**2, axis=1)) * np.cos(3 * p[:, 0] + p[:, 1])

    random = np.random.default_rng(5)
    train, test = random.uniform(-1, 1, (1_500, 2)), random.uniform(-1, 1, (5_000, 2))
    errors = [
        np.max(np.abs(random_tanh_layer(train, function(train), width)(test) - function(test))) for width in (16, 128)
    ]
    assert errors[1] < 1e-2
    assert errors[1] < errors[0] / 10


def test_the_layer_is_the_network_that_torch_would_compute() -> None:
    layer = fit_function(np.sin, 0, 3, 8)
    x = np.linspace(0, 3, 50)
    inner = torch.tanh(torch.from_numpy(x[:, None] @ layer.hidden.T + layer.bias))
    expected = torch.nn.functional.linear(inner, torch.from_numpy(layer.output[None]))[:, 0].numpy()
    np.testing.assert_allclose(
        layer(x), expected + x * layer.skip[0] + layer.offset, atol=1e-10
    )  # of large terms that cancel


def test_pieces_in_the_limit_of_a_parabola_and_a_sine() -> None:
    assert pieces_in_the_limit(lambda x: x**2, 0, 1, 1e-4) == pytest.approx(1 / np.sqrt(8e-4), rel=1e-3)
    mean_root_sine = 0.762759763501814  # (1/π)∫√sin = Γ(3/4) / (√π Γ(5/4))
    expected = 8 * np.pi * mean_root_sine / (4 * np.sqrt(1e-4))
    assert pieces_in_the_limit(lambda x: np.sin(8 * np.pi * x), 0, 1, 1e-4) == pytest.approx(expected, rel=1e-3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        random_tanh_layer([0.0, 1.0, 2.0], [0.0, np.nan, 1.0], 4)
    with pytest.raises(ValueError, match="width"):
        random_tanh_layer([0.0, 1.0], [0.0, 1.0], 0)
    with pytest.raises(ValueError, match="shape"):
        fit_function(np.sin, 0, 1, 4)(np.zeros((3, 2)))


def test_chebyshev_points_include_the_ends() -> None:
    points = chebyshev(-1, 2, 11)
    assert (points[0], points[-1]) == (-1, 2)
    assert np.all(np.diff(points) > 0)
