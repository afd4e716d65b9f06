"""Student's t against SciPy."""

from __future__ import annotations

import pytest
from scipy import stats

from vivavoce.measure.student import quantile, two_sided_p


@pytest.mark.parametrize("freedom", [1, 2, 3.5, 9, 30, 200])
def test_tails_and_quantiles_are_scipys(freedom: float) -> None:
    for t in (0.0, 0.1, -1.0, 2.5, 7.0, 40.0):
        assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-11)
    for probability in (0.01, 0.3, 0.5, 0.975, 0.999):
        assert quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-11, abs=1e-14)


def test_infinite_t_and_what_is_no_distribution() -> None:
    assert two_sided_p(float("inf"), 3) == 0
    with pytest.raises(ValueError, match="degrees of freedom"):
        two_sided_p(1.0, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile(1.0, 3)
