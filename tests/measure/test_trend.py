import math

import numpy as np
import pytest
from scipy import stats

from vivavoce.measure.trend import MOST_POINTS, robust_trend, step_change, thin


def test_slope_and_intercept_are_scipys_theil_sen():
    rng = np.random.default_rng(0)
    x = np.arange(60.0)
    y = 2 - 0.05 * x + rng.standard_normal(60)
    expected = stats.theilslopes(y, x)
    trend = robust_trend(x, y)
    assert trend.slope == pytest.approx(expected.slope)
    assert trend.intercept == pytest.approx(expected.intercept)


@pytest.mark.parametrize("ties", [False, True])
def test_z_agrees_with_kendalls_tau(ties):
    rng = np.random.default_rng(4)
    x = np.arange(80.0)
    y = 0.02 * x + rng.standard_normal(80)
    if ties:
        y = y.round()
    n = len(y)
    s = sum(np.sign(y[j] - y[i]) for i in range(n) for j in range(i + 1, n))
    counts = np.unique(y, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in counts)) / 18
    z = robust_trend(x, y).z
    assert z == pytest.approx((s - np.sign(s)) / math.sqrt(variance))
    p = stats.kendalltau(x, y, method="asymptotic").pvalue
    assert 2 * stats.norm.sf(abs(z)) == pytest.approx(p, rel=0.05)  # scipy leaves out the correction of one


def test_a_third_of_wild_points_does_not_turn_the_slope():
    x = np.arange(100.0)
    y = 3 * x
    y[::4] = 1e6
    assert robust_trend(x, y).slope == pytest.approx(3, rel=0.2)


def test_false_alarms_without_a_trend_are_as_rare_as_the_normal_law_says():
    rng = np.random.default_rng(8)
    alarms = sum(abs(robust_trend(np.arange(24.0), rng.standard_normal(24)).z) > 1.96 for _ in range(1000))
    assert alarms < stats.binom.ppf(0.9999, 1000, 0.05)
    assert alarms > stats.binom.ppf(0.0001, 1000, 0.03)


def test_too_few_points_and_no_spread_in_x():
    assert math.isnan(robust_trend(np.array([1.0, 2.0]), np.array([1.0, 2.0])).slope)
    assert robust_trend(np.ones(5), np.arange(5.0)).z == 0
    assert robust_trend(np.arange(5.0), np.full(5, math.nan)).z == 0
    assert robust_trend(np.arange(5.0), np.ones(5)).z == 0


def test_thin_keeps_both_ends():
    index = thin(10_000)
    assert len(index) <= MOST_POINTS
    assert index[0] == 0
    assert index[-1] == 9_999
    assert thin(5).tolist() == [0, 1, 2, 3, 4]


def test_step_change_is_the_best_of_all_splits():
    rng = np.random.default_rng(2)
    for _ in range(20):
        y = rng.standard_normal(30) + 2 * (np.arange(30) >= rng.integers(3, 27))
        left = [y[:k].var() * k + y[k:].var() * (30 - k) for k in range(1, 30)]
        split, gain = step_change(y)
        assert split == int(np.argmin(left)) + 1
        assert gain == pytest.approx(1 - min(left) / (y.var() * 30))


def test_step_change_of_nothing():
    assert step_change(np.array([])) == (0, 0.0)
    assert step_change(np.ones(9)) == (0, 0.0)
