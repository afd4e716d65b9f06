"""Paired comparisons: closed forms, SciPy, closed testing by enumeration, and simulated levels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from vivavoce.measure import corrected_t, gap_bootstrap, holm, paired_bootstrap

RUNS = 400
CHANCE = 3.3  # standard errors of a simulated share that a test allows


def near(share: float, level: float) -> bool:
    return abs(share - level) < CHANCE * np.sqrt(level * (1 - level) / RUNS)


def test_without_overlap_the_corrected_test_is_students() -> None:
    values = np.random.default_rng(0).standard_normal(12) + 0.3
    found = corrected_t(values, 1e-12)
    expected = stats.ttest_1samp(values, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_correction_widens_by_nadeau_and_bengios_factor() -> None:
    values = np.random.default_rng(1).standard_normal(10)
    plain, corrected = corrected_t(values, 1e-12), corrected_t(values, 1 / 4)
    assert (corrected.high - corrected.low) / (plain.high - plain.low) == pytest.approx(np.sqrt((1 / 10 + 1 / 4) * 10))


def test_the_bootstrap_keeps_its_level_on_skew_losses() -> None:
    random = np.random.default_rng(2)
    covered = rejected = 0
    for _ in range(RUNS):
        found = paired_bootstrap(random.exponential(size=60) - 1, random, samples=600)
        covered += found.low <= 0 <= found.high
        rejected += found.p <= 0.05
    assert near(covered / RUNS, 0.95)
    assert near(rejected / RUNS, 0.05)


def test_the_bootstrap_is_students_interval_where_losses_are_normal() -> None:
    random = np.random.default_rng(3)
    values = random.standard_normal(400) + 0.1
    found = paired_bootstrap(values, random, samples=20_000)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
    assert found.significant == (low > 0 or high < 0)


def test_the_gap_covers_at_its_level() -> None:
    random = np.random.default_rng(4)
    covered = 0
    for _ in range(RUNS):
        training, validation = random.exponential(size=200), 1.5 * random.exponential(size=50)
        found = gap_bootstrap(training, validation, random, samples=600)
        covered += found.low <= 0.5 <= found.high
    assert near(covered / RUNS, 0.95)


def test_holm_is_closed_testing_with_bonferroni() -> None:
    p = [0.01, 0.04, 0.03, 0.005, 0.6]
    family = range(len(p))
    closed = [
        max(
            min(1.0, len(subset) * min(p[member] for member in subset))
            for size in range(1, len(p) + 1)
            for subset in combinations(family, size)
            if index in subset
        )
        for index in family
    ]
    np.testing.assert_allclose(holm(p), closed)


def test_equal_losses_are_no_difference() -> None:
    random = np.random.default_rng(0)
    assert corrected_t(np.zeros(4), 0.25).p == 1
    assert paired_bootstrap(np.zeros(9), random).p == 1
    assert paired_bootstrap(np.ones(9), random).p == 0
    assert gap_bootstrap(np.ones(5), np.ones(9), random).mean == 0


@pytest.mark.parametrize(
    ("values", "why"), [([1.0], "at least two"), ([[1.0, 2.0]], "at least two"), ([1.0, float("nan")], "not finite")]
)
def test_what_cannot_be_compared(values: list[float], why: str) -> None:
    random = np.random.default_rng(0)
    for call in (
        lambda: corrected_t(values, 0.2),
        lambda: paired_bootstrap(values, random),
        lambda: gap_bootstrap([1.0, 2.0], values, random),
    ):
        with pytest.raises(ValueError, match=why):
            call()
    with pytest.raises(ValueError, match="test_share"):
        corrected_t([1.0, 2.0], 0.0)
