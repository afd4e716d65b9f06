"""The closed form of stochastic descent on least squares against every batch enumerated, and against simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vivavoce.measure.sgd_theory import LeastSquares


def problem(n: int, d: int, noise: float = 0.5, seed: int = 0) -> LeastSquares:
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, d)) * np.geomspace(1, 0.5, d)
    return LeastSquares(x, x @ random.standard_normal(d) + noise * random.standard_normal(n))


@pytest.mark.parametrize("batch", [1, 2, 5, 6])
def test_the_course_is_the_mean_over_all_batches(batch: int) -> None:
    p = problem(6, 2)
    batches = [np.array(rows) for rows in combinations(range(6), batch)]
    weights = np.zeros((1, 2))
    expected = [float(p.excess(weights).mean())]
    for _ in range(3):
        following = []
        for rows in batches:
            residual = weights @ p.x[rows].T - p.y[rows]
            following.append(weights - 0.3 * residual @ p.x[rows] / batch)
        weights = np.concatenate(following)
        expected.append(float(p.excess(weights).mean()))
    np.testing.assert_allclose(p.expected_course(np.zeros(2), 0.3, batch, 3), expected, rtol=1e-10)


def test_the_floor_is_where_the_course_ends() -> None:
    p = problem(50, 3)
    assert p.expected_course(np.zeros(3), 0.1, 4, 2_000)[-1] == pytest.approx(p.floor(0.1, 4), rel=1e-6)
    assert p.floor(0.1, 50) == pytest.approx(0, abs=1e-15)


def test_the_floor_is_what_a_simulation_finds() -> None:
    p, random, rate, batch = problem(200, 3), np.random.default_rng(3), 0.1, 4
    weights = np.tile(p.solution, (200, 1))
    seen = []
    for step in range(600):
        rows = np.argsort(random.random((200, 200)), axis=1)[:, :batch]
        residual = np.einsum("cbd,cd->cb", p.x[rows], weights) - p.y[rows]
        weights = weights - rate * np.einsum("cb,cbd->cd", residual, p.x[rows]) / batch
        if step >= 200:
            seen.append(p.excess(weights).mean())
    assert np.mean(seen) == pytest.approx(p.floor(rate, batch), rel=0.05)


def test_critical_rates() -> None:
    p = problem(100, 4)
    largest = np.linalg.svd(p.x, compute_uv=False)[0] ** 2 / 100
    assert p.batch_critical_rate == pytest.approx(2 / largest)
    assert p.critical_rate(100) == pytest.approx(2 / largest, rel=1e-5)
    rates = [p.critical_rate(batch) for batch in (1, 8, 64)]
    assert rates == sorted(rates)
    assert p.floor(rates[0] * 1.01, 1) == float("inf")
    assert p.floor(rates[0] * 0.9, 1) < float("inf")


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="targets"):
        LeastSquares(np.zeros((3, 2)), np.zeros(4))
    with pytest.raises(ValueError, match="finite"):
        LeastSquares(np.full((3, 2), np.nan), np.zeros(3))
    with pytest.raises(ValueError, match="between 1 and"):
        problem(10, 2).kappa(11)
    with pytest.raises(ValueError, match="at most"):
        problem(50, 31).floor(0.1, 1)
