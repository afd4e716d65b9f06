"""Growth of the gradient through time against autograd in float64 and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vivavoce.measure.growth import backward_log_norms, growth_of_norms, largest_exponent
from vivavoce.measure.recurrence import gradient_log_norms, measured_growth, predict_growth


def layer(nonlinearity: str, weight: torch.Tensor, seed: int = 0) -> nn.RNN:
    torch.manual_seed(seed)
    rnn = nn.RNN(2, len(weight), nonlinearity=nonlinearity, batch_first=True)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(weight)
    return rnn


@pytest.mark.parametrize("rate", [0.9, 1.02, 1.05, 1.1])
def test_scaled_identity_grows_by_its_scale(rate: float) -> None:
    rnn = layer("relu", rate * torch.eye(16))
    with torch.no_grad():
        rnn.weight_ih_l0.abs_()
        rnn.bias_ih_l0.zero_()
        rnn.bias_hh_l0.zero_()
    found = predict_growth(rnn, torch.rand(4, 60, 2))
    assert found.rate == pytest.approx(rate, rel=1e-6)
    assert found.r_squared == pytest.approx(1)
    assert found.factor == pytest.approx(rate**59, rel=1e-4)


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
@pytest.mark.parametrize("seed", range(5))
def test_prediction_equals_autograd_within_one_percent(nonlinearity: str, seed: int) -> None:
    weight = torch.randn(32, 32, generator=torch.Generator().manual_seed(seed)) * 1.3 / 32**0.5
    rnn = layer(nonlinearity, weight, seed)
    x = torch.rand(8, 80, 2)
    before = {name: value.clone() for name, value in rnn.state_dict().items()}
    predicted, measured = predict_growth(rnn, x), measured_growth(rnn, x)
    assert predicted.rate == pytest.approx(measured.rate, rel=0.01)
    for name, value in rnn.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in rnn.parameters())


def test_norms_equal_autograds_at_every_step() -> None:
    torch.manual_seed(1)
    rnn = nn.RNN(2, 12).double()
    x = torch.rand(30, 4, 2).double()
    with torch.no_grad():
        slopes = 1 - rnn(x)[0] ** 2
    got = backward_log_norms(rnn.weight_hh_l0.detach().numpy(), slopes[1:].numpy(), np.ones((4, 12)))
    np.testing.assert_allclose(got, gradient_log_norms(rnn, x), rtol=1e-10)


def test_autograd_growth_is_that_of_a_whole_pass() -> None:
    torch.manual_seed(2)
    lstm = nn.LSTM(2, 8).double()
    x = torch.rand(20, 3, 2).double()
    state, hidden = None, []
    for step in x:
        _, state = lstm(step[None], state)
        state[0].retain_grad()
        hidden.append(state[0])
    hidden[-1].sum().backward()
    expected = [np.log(h.grad.norm().item()) for h in hidden]
    np.testing.assert_allclose(gradient_log_norms(lstm, x), expected, rtol=1e-8)


def test_largest_exponent_of_constant_jacobians_is_the_spectral_radius() -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((10, 10))
    weight = weight + weight.T
    radius = np.max(np.abs(np.linalg.eigvalsh(weight)))
    assert largest_exponent(weight, np.ones((2_000, 3, 10))) == pytest.approx(np.log(radius), abs=2e-3)
    assert largest_exponent(weight, np.zeros((5, 1, 10))) == float("-inf")


def test_growth_of_an_exponential_in_closed_form() -> None:
    found = growth_of_norms([np.log(3.0) - 0.1 * t for t in range(50)])
    assert found.rate == pytest.approx(np.exp(0.1))
    assert found.steps_to_overflow() == pytest.approx(887.2, abs=0.1)
    assert growth_of_norms([1.0, 1.0, 1.0]).r_squared == 1
    assert growth_of_norms([1.0, 1.0, 1.0]).steps_to_overflow() == float("inf")


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite norms"):
        growth_of_norms([1.0, float("-inf"), 2.0])
    with pytest.raises(ValueError, match="fit"):
        backward_log_norms(np.eye(3), np.ones((4, 2, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"nn\.RNN"):
        predict_growth(nn.LSTM(2, 4), torch.zeros(5, 1, 2))
    with pytest.raises(ValueError, match="one layer"):
        measured_growth(nn.RNN(2, 4, num_layers=2), torch.zeros(5, 1, 2))
