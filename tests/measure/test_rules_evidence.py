"""Whether labels contradict a rule: the bound holds in simulation, and against scipy's χ²."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from vivavoce.measure import MonotoneRule, SymmetryRule, comparison, conservation, contradiction
from vivavoce.measure.rules import Rule

RULES: list[tuple[Rule, int]] = [
    (comparison(np.arange(0, 20, 2), np.arange(1, 20, 2)), 20),
    (comparison(np.arange(1, 20), np.arange(19)), 20),
    (MonotoneRule(np.arange(20), np.arange(20) // 3), 20),
    (SymmetryRule(np.arange(20), np.arange(20) // 4), 20),
    (conservation(np.arange(20).reshape(4, 5), 0.0), 20),
]


@pytest.mark.parametrize(("rule", "n"), RULES)
def test_labels_on_every_boundary_are_seldom_called_contradictory(rule: Rule, n: int) -> None:
    random = np.random.default_rng(0)
    found = np.array([contradiction(rule, 3 * random.standard_normal(n), 3.0) for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(found < level) <= level


def test_one_inequality_is_half_a_chi_square() -> None:
    rule = comparison(0, 1)
    for gap in (1.0, 2.0, 4.0):
        exact = 0.5 * chi2.sf(gap**2 / 2, 1)
        bound = contradiction(rule, [0.0, gap], 1.0)
        assert exact <= bound <= min(1.0, 30 * exact)  # what Chernoff's bound loses
    assert contradiction(rule, [1.0, 0.0], 1.0) == 1.0


def test_without_noise_any_violation_contradicts() -> None:
    assert contradiction(comparison(0, 1), [1.0, 1.0 + 1e-6]) == 0.0
    assert contradiction(comparison(0, 1), [1.0, 1.0]) == 1.0


def test_a_false_rule_is_found_from_enough_labels() -> None:
    random = np.random.default_rng(1)
    labels = np.column_stack([random.normal(0, 1, 50), random.normal(2, 1, 50)]).ravel()
    assert contradiction(comparison(np.arange(0, 100, 2), np.arange(1, 100, 2)), labels, 1.0) < 1e-6


@pytest.mark.parametrize(("deviation", "labels"), [(-1.0, [0.0, 0.0]), (np.nan, [0.0, 0.0]), (1.0, [np.nan, 0.0])])
def test_nonsense_is_refused(deviation: float, labels: list[float]) -> None:
    with pytest.raises(ValueError, match=r"standard deviation|not finite"):
        contradiction(comparison(0, 1), labels, deviation)
