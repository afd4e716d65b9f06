"""The closed form of double descent against simulation, least norm against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from vivavoce.measure import expected_risk
from vivavoce.measure.ridgeless import least_norm


@pytest.mark.parametrize("used", [0, 4, 10, 34, 60])
def test_the_closed_form_is_the_mean_risk(used: int) -> None:
    random, n, d, noise = np.random.default_rng(used), 20, 60, 0.5
    beta = random.standard_normal(d)
    risks = []
    for _ in range(1_500):
        x = random.standard_normal((n, d))
        y = x @ beta + np.sqrt(noise) * random.standard_normal(n)
        off = beta.copy()
        if used:
            off[:used] -= np.linalg.lstsq(x[:, :used], y, rcond=None)[0]
        risks.append(off @ off + noise)
    expected = expected_risk(n, used, float(beta[:used] @ beta[:used]), float(beta[used:] @ beta[used:]), noise)
    assert abs(np.mean(risks) - expected) < 5 * np.std(risks) / np.sqrt(len(risks)) + 1e-12


def test_it_is_infinite_about_interpolation() -> None:
    assert [np.isinf(expected_risk(20, used, 1, 1, 1)) for used in range(17, 24)] == [False, False, True, True, True, False, False]  # fmt: skip


@pytest.mark.parametrize(("n", "p"), [(30, 7), (7, 30)])
def test_least_norm_is_numpys_and_ridge_is_scikit_learns(n: int, p: int) -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((n, p)), random.standard_normal(n)
    np.testing.assert_allclose(least_norm(x, y), np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-12)
    theirs = Ridge(alpha=0.7, fit_intercept=False).fit(x, y).coef_
    np.testing.assert_allclose(least_norm(x, y, 0.7), theirs, atol=1e-10)


def test_counts_below_zero() -> None:
    with pytest.raises(ValueError, match="expected"):
        expected_risk(10, -1, 1, 1, 1)
