"""The comparison with controls, against SciPy and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from vivavoce.repair.comparison import LEVEL, effect, effects

CONTROL = {0: 1.0, 1: 1.2, 2: 0.9}


def test_complete_separation_of_three_seeds_is_just_enough() -> None:
    found = effect(CONTROL, {0: 0.5, 1: 0.6, 2: 0.55}, "lower")
    assert found is not None
    assert found.luck == pytest.approx(1 / math.comb(6, 3))
    assert found.difference == pytest.approx(np.mean([0.5, 0.6, 0.35]))
    assert found.proved


def test_one_seed_in_which_the_arm_is_no_better_is_too_much() -> None:
    found = effect(CONTROL, {0: 0.5, 1: 0.6, 2: 0.95}, "lower")
    assert found is not None
    assert not found.proved


def test_a_fault_that_only_some_seeds_have_is_not_repaired_by_luck() -> None:
    control = {0: math.nan, 1: 0.3, 2: 0.31}
    found = effect(control, {0: 0.3, 1: 0.3, 2: 0.3}, "lower")
    assert found is not None
    assert not found.proved


def test_a_control_that_is_never_finite_is_beaten_without_bound() -> None:
    found = effect(dict.fromkeys(range(3), math.nan), CONTROL, "lower")
    assert found is not None
    assert found.difference == found.low == math.inf
    assert found.proved


def test_an_arm_that_ends_not_finite_counts_as_the_worst() -> None:
    found = effect(CONTROL, {0: math.nan, 1: math.nan, 2: math.nan}, "lower")
    assert found is not None
    assert found.difference == pytest.approx(np.mean(list(CONTROL.values())) - 1.2)
    assert not found.proved


def test_higher_is_better_where_it_is_said() -> None:
    found = effect({0: 0.5, 1: 0.5, 2: 0.6}, {0: 0.9, 1: 0.8, 2: 0.95}, "higher")
    assert found is not None
    assert found.proved
    other = effect({0: 0.5, 1: 0.5, 2: 0.6}, {0: 0.9, 1: 0.8, 2: 0.95}, "lower")
    assert other is not None
    assert other.worse


def test_a_trifle_is_no_repair() -> None:
    found = effect(CONTROL, {seed: level - 0.001 for seed, level in CONTROL.items()}, "lower")
    assert found is not None
    assert not found.proved


@pytest.mark.parametrize("n", [3, 4])
def test_luck_of_few_seeds_is_the_exact_rank_sum_test(n: int) -> None:
    generator = np.random.default_rng(n)
    before, after = generator.normal(size=n), generator.normal(0.5, size=n)
    found = effect(dict(enumerate(before)), dict(enumerate(after)), "higher")
    assert found is not None
    expected = stats.mannwhitneyu(after, before, alternative="greater", method="exact").pvalue
    assert found.luck == pytest.approx(expected)


def test_luck_of_six_seeds_is_a_paired_permutation_test_of_ranks() -> None:
    generator = np.random.default_rng(1)
    before = generator.normal(size=6) * 10
    after = before + generator.uniform(0.1, 0.2, size=6)
    found = effect(dict(enumerate(before)), dict(enumerate(after)), "higher")
    assert found is not None
    ranks = stats.rankdata(np.concatenate([before, after]))
    result = stats.permutation_test(
        (ranks[6:], ranks[:6]), lambda a, b: np.sum(a - b), permutation_type="samples", alternative="greater"
    )
    assert found.luck == pytest.approx(result.pvalue)
    assert found.luck == 2**-6


def test_the_interval_of_few_seeds_is_over_all_resamples() -> None:
    arm = {0: 0.5, 1: 0.9, 2: 0.7}
    differences = np.array([CONTROL[seed] - arm[seed] for seed in range(3)])
    means = [np.mean(pick) for pick in itertools.product(differences, repeat=3)]
    found = effect(CONTROL, arm, "lower")
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])))


def test_the_interval_of_many_seeds_agrees_with_scipys_bootstrap() -> None:
    differences = np.random.default_rng(2).normal(1.0, 1.0, size=20)
    found = effect(dict.fromkeys(range(20), 0.0), dict(enumerate(differences)), "higher")
    assert found is not None
    other = stats.bootstrap(
        (differences,), np.mean, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.06)


def test_several_arms_are_corrected_as_holm_says() -> None:
    control = dict(enumerate(np.linspace(0, 1, 7)))
    arms = {
        "good": {seed: level + 3 for seed, level in control.items()},
        "fair": {seed: level + (0.5 if seed else -0.1) for seed, level in control.items()},
        "nothing": control,
    }
    raw = {name: effect(control, arm, "higher").luck for name, arm in arms.items()}  # type: ignore[union-attr]
    found = effects(control, arms, "higher")
    ordered = sorted(raw, key=raw.__getitem__)
    expected = np.maximum.accumulate([raw[name] * (3 - rank) for rank, name in enumerate(ordered)]).clip(max=1)
    assert [found[name].luck for name in ordered] == pytest.approx(list(expected))


def test_arms_without_a_common_seed_are_not_compared() -> None:
    assert effect({0: 1.0}, {1: 2.0}, "lower") is None
