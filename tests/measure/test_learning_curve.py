"""Learning curves: exact power laws come back, SciPy's fit agrees, intervals cover, and what is no such curve is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from vivavoce.measure import extrapolate, fit_power_law
from vivavoce.measure.learning_curve import EXPONENTS, IllBehavedCurveError

SIZES = np.array([20.0, 40.0, 80.0, 160.0, 320.0, 640.0])


@pytest.mark.parametrize("exponent", [EXPONENTS[8], EXPONENTS[20]])
def test_an_exact_power_law_comes_back(exponent: float) -> None:
    found = fit_power_law(SIZES, 0.2 + 3 * SIZES**-exponent)
    assert found.floor == pytest.approx(0.2, abs=1e-9)
    assert found.exponent == exponent
    np.testing.assert_allclose(found.at([1_280, 5_000]), 0.2 + 3 * np.array([1_280, 5_000.0]) ** -exponent)


def test_the_weighted_fit_is_scipys() -> None:
    random = np.random.default_rng(0)
    deviations = np.linspace(0.03, 0.005, 6)
    means = 0.1 + 2 * SIZES**-0.5 + deviations * random.standard_normal(6)
    exponent = fit_power_law(SIZES, means, 1 / deviations**2).exponent
    (a, b), _ = curve_fit(lambda n, a, b: a + b * (n / 640) ** -exponent, SIZES, means, sigma=deviations)
    found = fit_power_law(SIZES, means, 1 / deviations**2)
    assert (found.floor, found.slope) == pytest.approx((a, b), rel=1e-6)


def test_floor_and_slope_are_not_negative() -> None:
    assert fit_power_law(SIZES, 5 * SIZES**-2.5 - 1e-6).floor >= 0
    rising = fit_power_law(SIZES, 0.2 + 1e-4 * SIZES)
    assert rising.slope == 0
    assert rising.floor == pytest.approx(np.mean(0.2 + 1e-4 * SIZES))


def test_the_interval_covers_known_curves() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for case in range(60):
        a, b, c = random.uniform(0, 0.3), random.uniform(0.5, 2), random.uniform(0.3, 1.2)
        truth = a + b * (SIZES / 20) ** -c
        errors = truth[:, None] * (1 + 0.1 * random.standard_normal((6, 8)))
        found = extrapolate(SIZES, np.abs(errors), [1_280], np.random.default_rng(case))
        covered += found.low[0] <= a + b * 64**-c <= found.high[0]
    assert covered >= 51  # 85 % of what should be 90 % or more


def test_it_narrows_with_repeats_and_holds_its_own_estimate() -> None:
    random = np.random.default_rng(2)
    truth = 0.1 + SIZES**-0.5
    widths = []
    for repeats in (4, 400):
        errors = truth[:, None] + 0.02 * random.standard_normal((6, repeats))
        found = extrapolate(SIZES, errors, [640, 1_280], random)
        assert (found.low <= found.errors).all()
        assert (found.errors <= found.high).all()
        assert found.floor[1] <= found.floor[0] <= found.floor[2]
        widths.append(float(found.high[1] - found.low[1]))
    assert widths[1] < widths[0]


def test_ill_behaved_curves_are_refused() -> None:
    random = np.random.default_rng(3)
    noise = 0.002 * random.standard_normal((6, 5))
    peak = np.array([0.5, 0.4, 0.9, 0.5, 0.4, 0.35])
    with pytest.raises(IllBehavedCurveError, match="rises from"):
        extrapolate(SIZES, peak[:, None] + noise, [1_280], random)
    cliff = np.array([0.5, 0.5, 0.5, 0.5, 0.1, 0.1])
    with pytest.raises(IllBehavedCurveError, match="bends"):
        extrapolate(SIZES, cliff[:, None] + noise, [1_280], random)


@pytest.mark.parametrize(
    ("sizes", "errors", "why"),
    [
        ([1, 2, 3], np.ones((3, 5)), "at least 4 sizes"),
        ([1, 2, 3, 4], np.ones((4, 2)), "3 repeats"),
        ([1, 2, 2, 4], np.ones((4, 5)), "rise"),
        ([1, 2, 3, 4], np.full((4, 5), np.nan), "finite"),
        ([1, 2, 3, 4], -np.ones((4, 5)), "not negative"),
        ([1, 2, 3, 4], np.ones(4), "expected"),
    ],
)
def test_what_is_no_curve(sizes: list[float], errors: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        extrapolate(sizes, errors, [10], np.random.default_rng(0))
