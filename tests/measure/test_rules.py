"""Rules on arrays and tensors, against quadratic programming, isotonic regression, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.isotonic import IsotonicRegression

from vivavoce.measure import (
    ImplicationRule,
    LinearRule,
    MonotoneRule,
    SymmetryRule,
    check_rule,
    comparison,
    conservation,
    dykstra,
    project_onto_rules,
    rule_penalty,
    rule_violations,
)
from vivavoce.measure.rules import Rule

Floats = NDArray[np.float64]


def least_distance(matrix: Floats, bound: Floats, y: Floats) -> Floats:
    """The point nearest to `y` with matrix @ x ≥ bound: Lawson and Hanson's reduction to non-negative least squares."""
    lack = bound - matrix @ y
    extended = np.vstack([matrix.T, lack])
    target = np.append(np.zeros(len(y)), 1.0)
    solution, _ = nnls(extended, target, maxiter=10_000)
    residual = extended @ solution - target
    return y - residual[:-1] / residual[-1] if abs(residual[-1]) > 1e-12 else y


def dense(rule: LinearRule, n: int) -> tuple[Floats, Floats]:
    matrix = np.zeros((rule.size, n))
    np.put_along_axis(matrix, rule.places, rule.coefficients, axis=1)
    if rule.equal:
        return np.vstack([matrix, -matrix]), np.concatenate([-rule.offset, rule.offset])
    return matrix, -rule.offset


@pytest.mark.parametrize("seed", range(30))
def test_projection_is_the_solution_of_the_quadratic_program(seed: int) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(3, 12))
    truth = random.normal(0, 3, n)
    rules = []
    for _ in range(3):
        places = np.stack([random.permutation(n)[:3] for _ in range(4)])
        coefficients = random.normal(size=places.shape)
        left = np.sum(truth[places] * coefficients, axis=1)
        rules.append(LinearRule(places, coefficients, random.exponential(1, 4) - left))  # the truth obeys it
    rules.append(conservation([[0, 1, 2]], truth[:3].sum()))
    y = truth + random.normal(0, 5, n)
    matrix, bound = (np.concatenate(part) for part in zip(*(dense(rule, n) for rule in rules), strict=True))
    found = dykstra(rules, y)
    np.testing.assert_allclose(found.values, least_distance(matrix, bound, y), atol=1e-6)
    assert found.violation < 1e-9 * np.abs(y).max()
    assert np.sum((found.values - truth) ** 2) <= np.sum((y - truth) ** 2)  # a convex set that holds the truth


@pytest.mark.parametrize("seed", range(10))
def test_a_chain_of_comparisons_is_isotonic_regression(seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=20)
    expected = IsotonicRegression().fit_transform(np.arange(20), y)
    chain = comparison(np.arange(1, 20), np.arange(19))
    np.testing.assert_allclose(project_onto_rules(chain, y), expected, atol=1e-8)
    np.testing.assert_allclose(project_onto_rules(MonotoneRule(np.arange(20), np.arange(20)), y), expected, atol=1e-12)
    falling = IsotonicRegression(increasing=False).fit_transform(np.arange(20), y)
    rule = MonotoneRule(np.arange(20), np.arange(20), rising=False)
    np.testing.assert_allclose(project_onto_rules(rule, y), falling, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_order_with_ties_and_groups_is_the_quadratic_program_of_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    along, groups, y = random.integers(0, 4, 12), random.choice(["u", "v"], 12), random.normal(size=12)
    pairs = [(i, j) for i in range(12) for j in range(12) if groups[i] == groups[j] and along[i] < along[j]]
    matrix = np.zeros((len(pairs), 12))
    for row, (i, j) in enumerate(pairs):
        matrix[row, j], matrix[row, i] = 1, -1
    rule = MonotoneRule(np.arange(12), along, groups)
    np.testing.assert_allclose(project_onto_rules(rule, y), least_distance(matrix, np.zeros(len(pairs)), y), atol=1e-8)
    assert check_rule(rule, y).holds == bool((matrix @ y >= 0).all())


def test_levels_of_ties_by_hand() -> None:
    rule = MonotoneRule(np.arange(5), [1, 2, 2, 3, 3], np.array(["a", "a", "a", "b", "a"]))
    assert rule_violations(rule, [5.0, 1, 9, 0, 2]).tolist() == [4, 7]
    assert check_rule(rule, [1.0, 9, 5, 0, 9]).holds
    empty = MonotoneRule([], [])
    assert rule_penalty(empty, []) == 0


def test_symmetry_is_the_mean_of_each_orbit() -> None:
    rule = SymmetryRule(np.arange(5), ["ab", "cd", "ab", "cc", "ab"])
    assert project_onto_rules(rule, [1.0, 7, 2, 3, 6]).tolist() == [3, 7, 3, 3, 3]
    assert rule_violations(rule, [1.0, 7, 2, 3, 6]).tolist() == [2, 0, 1, 0, 3]
    signed = SymmetryRule(np.arange(3), [0, 0, 1], [1, -1, 0])
    assert project_onto_rules(signed, [5.0, -1, 4]).tolist() == [3, -3, 0]


@pytest.mark.parametrize("seed", range(20))
def test_an_implication_goes_to_the_nearer_side(seed: int) -> None:
    random = np.random.default_rng(seed)
    condition = LinearRule([[0, 1]], random.normal(size=(1, 2)), random.normal(size=1))
    then = LinearRule([[1, 2]], random.normal(size=(1, 2)), random.normal(size=1))
    rule, y = ImplicationRule(condition, then), random.normal(0, 2, 3)
    sides = [least_distance(*dense(side, 3), y) for side in (condition.negated(), then)]
    best = min(sides, key=lambda point: float(np.sum((point - y) ** 2)))
    np.testing.assert_allclose(project_onto_rules(rule, y), best, atol=1e-9)
    if rule_violations(rule, y)[0] > 0:
        assert condition.left(y)[0] > 0
        assert then.left(y)[0] < 0


KINDS: list[Rule] = [
    comparison([0, 1, 2], [3, 3, 4], margin=0.3),
    conservation([[0, 1, 2], [3, 4, 5]], [1.0, 2.0]),
    MonotoneRule(np.arange(6), [0, 1, 1, 2, 0, 1], np.array([0, 0, 0, 0, 1, 1])),
    MonotoneRule(np.arange(6), [0, 1, 1, 2, 3, 3], rising=False),
    SymmetryRule(np.arange(6), [0, 1, 1, 2, 0, 2], [1, 1, -1, 0, -1, 0]),
    ImplicationRule(comparison([0, 2], [1, 3]), LinearRule([[4], [5]], [[1.0]], [0.5])),
]


@pytest.mark.parametrize("rule", KINDS, ids=lambda rule: type(rule).__name__)
def test_tensors_and_arrays_agree_and_gradients_are_those_of_differences(rule: Rule) -> None:
    for seed in range(10):
        y = np.random.default_rng(seed).normal(size=(2, 3))
        tensor = torch.tensor(y, requires_grad=True)
        np.testing.assert_allclose(
            rule_violations(rule, tensor).detach(), rule_violations(rule, y), atol=1e-12, strict=True
        )
        assert rule_penalty([rule, rule], tensor).item() == pytest.approx(2 * np.mean(rule_violations(rule, y)))
        assert torch.autograd.gradcheck(lambda values: rule_penalty(rule, values), (tensor,))
        moved = project_onto_rules(rule, tensor.detach().float())
        assert moved.dtype == torch.float32
        assert moved.shape == (2, 3)
        np.testing.assert_allclose(moved, project_onto_rules(rule, y), atol=1e-6)
        assert check_rule(rule, moved).holds
        assert check_rule(rule, project_onto_rules(rule, y)).holds


@pytest.mark.parametrize("rule", KINDS, ids=lambda rule: type(rule).__name__)
def test_projecting_twice_changes_nothing_and_values_that_obey_stay(rule: Rule) -> None:
    y = np.random.default_rng(1).normal(size=6)
    once = project_onto_rules(rule, y)
    np.testing.assert_allclose(project_onto_rules(rule, once), once, atol=1e-12)


def test_a_check_counts_and_nan_breaks() -> None:
    rule = comparison([0, 1, 2], [1, 2, 3])
    found = check_rule(rule, [3.0, 1, 2, np.nan])
    assert (found.size, found.where.tolist()) == (3, [1, 2])
    assert check_rule(rule, [3.0, 2, 2, 4], tolerance=2.5).holds
    assert check_rule(comparison(0, 1), torch.tensor([1e6, 1e6 + 1])).holds  # within float32's rounding
    assert not check_rule(comparison(0, 1), torch.tensor([1e6, 1e6 + 1], dtype=torch.float64)).holds


def test_many_comparisons_of_one_value_are_parted() -> None:
    star = comparison(np.zeros(5, int), np.arange(1, 6))
    assert len(star.parts()) == 5
    assert len(comparison([0, 2, 4], [1, 3, 5]).parts()) == 1
    assert sum(part.size for part in comparison(np.arange(1, 9), np.arange(8)).parts()) == 8
    assert len(comparison(np.arange(1, 9), np.arange(8)).parts()) == 2


def test_the_certificate_is_that_of_a_nearest_point() -> None:
    """Without the memory the sweeps end in the set, but not at the nearest point."""
    rules = [LinearRule([[0]], [[-1.0]], [0.0]), LinearRule([[0, 1]], [[-1.0, -1.0]], [0.0])]  # x ≤ 0 and x + y ≤ 0
    y = np.array([2.0, 1.0])
    found = dykstra(rules, y)
    assert found.residual <= 1e-10
    np.testing.assert_allclose(found.values, [0, 0], atol=1e-9)
    alternating = rules[1].nearest(rules[0].nearest(y))
    assert all(check_rule(rule, alternating).holds for rule in rules)
    assert np.linalg.norm(alternating - y) > np.linalg.norm(found.values - y) + 0.1


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: project_onto_rules([comparison(0, 1, 1.0), comparison(1, 0, 1.0)], [0.0, 0.0]), "no values obey all"),
        (lambda: project_onto_rules(comparison(0, 5), [0.0, 0.0]), "value number 5; only 2"),
        (lambda: rule_penalty(comparison(0, 5), torch.zeros(2)), "value number 5; only 2"),
        (lambda: project_onto_rules(comparison(0, 1), [np.nan, 0.0]), "not finite"),
        (lambda: project_onto_rules([KINDS[5], KINDS[0]], np.zeros(6)), "not convex"),
        (lambda: comparison(0, 0), "stand twice"),
        (lambda: LinearRule([[0]], [[np.inf]], [0.0]), "finite"),
        (lambda: ImplicationRule(comparison([0, 1], [2, 3]), comparison([0], [4])), "2 conditions for 1"),
        (lambda: ImplicationRule(comparison([0, 1], [2, 3]), comparison([1, 0], [4, 5])), "share places"),
        (lambda: ImplicationRule(conservation([[0]], 1.0), comparison(1, 2)), "inequality"),
        (lambda: MonotoneRule([0, 1], [1.0]), "2, 1 and 1"),
        (lambda: MonotoneRule([0, 0], [1.0, 2.0]), "stand twice"),
        (lambda: SymmetryRule([0, 1], ["a"]), "2, 1 and 2"),
        (lambda: SymmetryRule([0, 1], ["a", "a"], [1, 2]), "sign is 1, -1 or 0"),
        (lambda: conservation([[0]], 1.0).negated(), "no closed set"),
    ],
)
def test_what_makes_no_sense_is_refused(call: object, why: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=why):
        call()
