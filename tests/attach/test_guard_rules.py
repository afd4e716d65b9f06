"""What stands out as an approaching explosion, and what does not."""

import math

import numpy as np
import pytest

from vivavoce.attach import guard_rules
from vivavoce.attach.guard_rules import Failures, Growth


def fed(norms):
    growth = Growth()
    return growth, [growth.ceiling(float(norm)) for norm in norms]


def test_mean_and_variance_of_the_warm_up_are_those_of_the_sample():
    norms = np.random.default_rng(0).lognormal(0, 0.3, guard_rules.WARM_UP)
    growth, _ = fed(norms)
    assert growth.mean == pytest.approx(norms.mean())
    assert growth.variance == pytest.approx(norms.var())


def test_afterwards_they_are_exponentially_weighted():
    norms = np.random.default_rng(1).uniform(1, 2, 400)
    growth, _ = fed(norms)
    weights = 0.03 * 0.97 ** np.arange(len(norms) - 25)[::-1]
    first = 0.97 ** (len(norms) - 25)
    assert growth.mean == pytest.approx(first * norms[:25].mean() + weights @ norms[25:])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("course", ["level", "falling", "warming up"])
def test_noise_alone_never_stands_out(seed, course):
    """Norms of healthy networks: log-normal, σ 0.5, on a level that may fall a hundredfold or rise while the rate warms up."""
    steps = np.arange(3000)
    level = {"level": 1.0, "falling": 100 ** (-steps / 3000), "warming up": np.minimum(1, 0.3 + steps / 300)}[course]
    _, ceilings = fed(level * np.random.default_rng(seed).lognormal(0, 0.5, len(steps)))
    assert all(ceiling is None for ceiling in ceilings)


def test_the_start_of_a_training_is_left_alone():
    _, ceilings = fed(2.0 ** np.arange(guard_rules.FEWEST))
    assert ceilings == [None] * guard_rules.FEWEST


@pytest.mark.parametrize("doubling", [2, 12, 20])
def test_exponential_growth_is_noticed_before_it_is_a_hundredfold(doubling):
    steps = np.arange(500)
    noise = np.random.default_rng(0).lognormal(0, 0.2, len(steps))
    norms = noise * 2.0 ** (np.maximum(steps - 200, 0) / doubling)
    _, ceilings = fed(norms)
    first = next(i for i, ceiling in enumerate(ceilings) if ceiling is not None)
    assert first > 200
    assert norms[first] < 100
    assert all(ceiling < norm for ceiling, norm in zip(ceilings, norms, strict=True) if ceiling is not None)


def test_the_ceiling_is_the_reciprocal_rule_of_zclip():
    norms = np.random.default_rng(2).uniform(1, 2, 80)
    growth, _ = fed(norms)
    mean, deviation = growth.mean, math.sqrt(growth.variance)
    z = (50 - mean) / deviation
    assert growth.ceiling(50.0) == pytest.approx(mean + 2.5**2 / z * deviation)


def test_an_explosion_does_not_raise_its_own_bar():
    norms = np.random.default_rng(3).uniform(1, 2, 80)
    growth, _ = fed(norms)
    ceilings = [growth.ceiling(1e6) for _ in range(200)]
    assert None not in ceilings
    assert max(ceilings) < 4
    assert growth.climbed
    assert growth.lasting


def test_failures_at_once_are_hopeless_and_single_ones_are_not():
    failures = Failures()
    relapses = [failures.add(step) for step in (10, 500, 550, 2000)]
    assert relapses == [False, False, True, False]
    assert failures.hopeless(False) == ""
    for step in range(2001, 2001 + guard_rules.IN_A_ROW):
        failures.add(step)
    assert "although the weights were sound" in failures.hopeless(False)
    assert "blew the weights up again" in failures.hopeless(True)
    failures.count_anew()
    assert failures.hopeless(True) == ""


def test_too_many_failures_in_all_are_hopeless():
    failures = Failures()
    for step in range(guard_rules.MOST_FAILURES + 1):
        assert failures.hopeless(False) == ""
        failures.add(10 * step)
    assert f"{guard_rules.MOST_FAILURES} steps broke" in failures.hopeless(False)
