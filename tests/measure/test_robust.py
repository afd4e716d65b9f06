import math

import numpy as np
import pytest
from scipy import stats

from vivavoce.measure.robust import MAD_TO_SD, median, spread, stream_noise, weighted_quantile


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_weighted_quantile_is_numpys_quantile_of_the_repeated_values(q):
    rng = np.random.default_rng(3)
    values, counts = rng.normal(size=40), rng.integers(1, 9, size=40)
    expected = np.quantile(np.repeat(values, counts), q, method="inverted_cdf")
    assert weighted_quantile(values, counts, q) == pytest.approx(expected)


def test_weighted_quantile_leaves_out_what_is_not_finite():
    values = np.array([1.0, math.nan, math.inf, 3.0])
    assert weighted_quantile(values, np.array([1, 5, 5, 1]), 1.0) == 3.0
    assert math.isnan(weighted_quantile(np.array([math.nan]), np.array([1]), 0.5))


def test_spread_is_scipys_scaled_median_absolute_deviation():
    values = np.random.default_rng(0).standard_t(3, size=501)
    assert spread(values) == pytest.approx(stats.median_abs_deviation(values, scale="normal"), rel=1e-4)
    assert pytest.approx(1 / stats.norm.ppf(0.75), rel=1e-4) == MAD_TO_SD


def test_stream_noise_finds_the_noise_under_a_trend_and_outliers():
    rng = np.random.default_rng(1)
    stream = np.linspace(5, 1, 4000) + 0.3 * rng.standard_normal(4000)
    stream[::100] += 50
    assert stream_noise(stream) == pytest.approx(0.3, rel=0.1)


def test_empty_and_short_samples():
    assert math.isnan(median(np.array([])))
    assert spread(np.array([1.0])) == 0
    assert stream_noise(np.array([1.0, 2.0])) == 0
