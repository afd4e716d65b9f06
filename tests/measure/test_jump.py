"""Jumps found where they were put, and the bound that no continuous network gets below."""

from __future__ import annotations

import numpy as np
import pytest

from vivavoce.measure.approximation import fit_function
from vivavoce.measure.jump import Break, certify, find_breaks, widest_gap


@pytest.mark.parametrize("place", [0.3, 0.123456, 1 / 3, 0.9999])
@pytest.mark.parametrize("height", [1.0, -0.02, 3e4])
def test_a_jump_is_found_to_the_last_digit(place: float, height: float) -> None:
    def function(x: np.ndarray) -> np.ndarray:
        return abs(height) * np.sin(40 * x) + np.where(x < place, 0.0, height)

    (found,) = find_breaks(function, 0, 1)
    assert found.kind == "jump"
    assert found.left <= place <= found.right
    assert found.right - found.left < 1e-14
    assert found.height == pytest.approx(abs(height), rel=1e-9)


def test_a_value_in_the_middle_of_a_jump_does_not_split_it() -> None:
    (found,) = find_breaks(np.sign, -1, 1)
    assert found.left < 0 < found.right
    assert found.height == 2


def test_every_jump_is_found() -> None:
    found = find_breaks(lambda x: np.floor(3 * x) + np.sin(x), 0.1, 1.1)
    assert [round(item.left, 9) for item in found] == [round(1 / 3, 9), round(2 / 3, 9), 1.0]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.sin(8 * np.pi * x),
        lambda x: np.abs(x - 0.3) ** 0.1,
        lambda x: np.sqrt(x),
        lambda x: np.tanh(1e6 * (x - 0.5)),
        lambda x: np.full_like(x, 3.0),
        lambda x: 1e-12 * x,
        lambda x: 1e12 + x,
        lambda x: 1 / (1e-8 + (x - 0.3) ** 2),
    ],
)
def test_steep_is_not_a_jump(function) -> None:
    assert find_breaks(function, 0, 1) == []


@pytest.mark.parametrize(
    "function", [np.tan, lambda x: 1 / (x - 0.7), lambda x: 1 / (x - 1.3) ** 2, lambda x: np.abs(x - 1.3) ** -0.2]
)
def test_a_pole_is_not_a_jump(function) -> None:
    with np.errstate(divide="ignore"):
        assert [item.kind for item in find_breaks(function, 0, 3)] == ["pole"]


@pytest.mark.parametrize("width", [2, 8, 32, 128])
def test_no_network_gets_below_half_the_jump(width: int) -> None:
    def step(x: np.ndarray) -> np.ndarray:
        return np.where(x < 0.3, 0.0, 1.0)

    network = fit_function(step, 0, 1, width)
    (jump,) = find_breaks(step, 0, 1)
    certificate = certify(network, jump)
    assert certificate.least == 0.5
    assert certificate.bound >= 0.5
    both_sides = np.abs(network(np.array([jump.left, jump.right])) - [0.0, 1.0])
    assert certificate.bound == pytest.approx(np.max(both_sides), abs=1e-4)  # wide layers have large weights


def test_the_bound_is_reached_by_the_middle() -> None:
    jump = Break("jump", 0.0, 1e-16, 2.0, 5.0)
    assert certify(lambda x: np.full_like(x, 3.5), jump).bound == 1.5


def test_data_name_the_slope_that_continuity_would_need() -> None:
    x = np.linspace(0, 1, 101)
    gap = widest_gap(x, np.where(x < 0.295, 0.0, 1.0) + 0.1 * x)
    assert gap.left < 0.295 < gap.right
    assert gap.height == pytest.approx(1.001)
    assert gap.slope == pytest.approx(100.1)
    assert gap.suspicious
    assert gap.least_error == pytest.approx((1.001 - 0.1 * 0.01) / 2)
    assert not widest_gap(x, np.sin(8 * np.pi * x)).suspicious
    with pytest.raises(ValueError, match="three points"):
        widest_gap([0, 1], [0, 1])
