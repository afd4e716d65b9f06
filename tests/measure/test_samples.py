"""Distances between samples, against SciPy, scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from vivavoce.measure import (
    energy_distance,
    frechet_distance,
    kernel_distance,
    mode_coverage,
    relative_diversity,
    sample_quality,
    score_separation,
    slope_norms,
)
from vivavoce.measure import modes as modes_
from vivavoce.measure import neighbours as neighbours_
from vivavoce.measure.frechet import frechet_of_gaussians
from vivavoce.measure.modes import divergence_from
from vivavoce.measure.neighbours import neighbour_radii

RING = np.stack([2 * np.cos(np.arange(8) * np.pi / 4), 2 * np.sin(np.arange(8) * np.pi / 4)], 1)


def two(n: int = 300, m: int = 260, d: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)), 0.7 * rng.standard_normal((m, d)) + 0.4


# ---- Fréchet and kernel distances ---------------------------------------------------------------------------------------


def test_frechet_distance_is_the_one_with_scipys_matrix_root() -> None:
    real, made = two()
    c1, c2 = np.cov(real.T), np.cov(made.T)
    root = linalg.sqrtm(c1 @ c2).real
    expected = np.sum((real.mean(0) - made.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * root)
    assert frechet_distance(real, made) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(torch.from_numpy(real), torch.from_numpy(made)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_independent_axes_has_a_closed_form() -> None:
    """Axes apart, the 2-Wasserstein distances of one-dimensional Gaussians add up: Δμ² + Δσ²."""
    mean, deviation = np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.0, 3.0])
    other, spread = np.array([0.0, 1.0, 0.5]), np.array([2.0, 1.5, 0.0])
    found = frechet_of_gaussians(mean, np.diag(deviation**2), other, np.diag(spread**2))
    assert found == pytest.approx(np.sum((mean - other) ** 2) + np.sum((deviation - spread) ** 2))


def test_frechet_distance_is_nought_of_itself_and_survives_fewer_rows_than_features() -> None:
    rows = np.random.default_rng(1).standard_normal((10, 64))
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(rows, rows + 1) == pytest.approx(64)


def test_kernel_distance_is_the_sum_over_pairs() -> None:
    real, made = two(60, 40)
    kernel = lambda a, b: polynomial_kernel(a, b, degree=3, gamma=1 / a.shape[1], coef0=1)  # noqa: E731
    within = [
        np.mean([row[j] for i, row in enumerate(kernel(x, x)) for j in range(len(x)) if i != j]) for x in (real, made)
    ]
    expected = sum(within) - 2 * kernel(real, made).mean()
    assert kernel_distance(real, made) == pytest.approx(expected)
    assert kernel_distance(torch.from_numpy(real), made) == pytest.approx(expected)


def test_kernel_distance_of_one_distribution_is_nought_on_average() -> None:
    rng = np.random.default_rng(2)
    found = [kernel_distance(rng.standard_normal((50, 4)), rng.standard_normal((50, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


# ---- neighbours ---------------------------------------------------------------------------------------------------------


def by_scikit_learn(real: np.ndarray, made: np.ndarray, k: int) -> tuple[float, float, float, float]:
    def radii(x: np.ndarray) -> np.ndarray:
        return NearestNeighbors(n_neighbors=k).fit(x).kneighbors()[0][:, -1]  # without the example itself

    between = np.array([[np.linalg.norm(a - b) for b in made] for a in real])
    inside = between < radii(real)[:, None]
    among = between < radii(made)[None]
    return inside.any(0).mean(), among.any(1).mean(), inside.sum(0).mean() / k, inside.any(1).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_sample_quality_is_the_definition(k: int, as_tensor: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_, "ROWS", 37)  # several chunks, the last one short
    real, made = two(120, 90)
    found = sample_quality(
        *((torch.from_numpy(real), torch.from_numpy(made)) if as_tensor else (real, made)), nearest=k
    )
    expected = by_scikit_learn(real, made, k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)


def test_coverage_of_one_distribution_has_a_closed_form() -> None:
    """1 − (n−1)…(n−k) / ((2n−1)…(2n−k)) for samples of equal size n (Naeem et al. 2020)."""
    rng = np.random.default_rng(3)
    n, k = 400, 3
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    found = [sample_quality(rng.random((n, 2)), rng.random((n, 2)), k).coverage for _ in range(20)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(len(found)))


def test_lost_variety_lowers_recall_and_spares_precision() -> None:
    rng = np.random.default_rng(4)
    real = rng.standard_normal((500, 2))
    quality = sample_quality(real, 0.05 * rng.standard_normal((500, 2)))
    assert quality.precision == 1
    assert quality.recall < 0.05
    assert quality.coverage < 0.1


def test_radii_leave_the_example_itself_out_even_where_it_has_a_twin() -> None:
    assert neighbour_radii(np.array([[0.0], [0.0], [2.0]]), 1).tolist() == [0, 0, 2]


# ---- modes --------------------------------------------------------------------------------------------------------------


def test_modes_are_counted() -> None:
    rng = np.random.default_rng(5)
    which = np.repeat([0, 3, 3, 5], 100)
    samples = RING[which] + 0.02 * rng.standard_normal((400, 2))
    found = mode_coverage(np.concatenate([samples, np.zeros((100, 2))]), RING, 0.02)
    assert found.covered == 3
    assert found.outside == 500 - found.counts.sum()
    assert found.quality == pytest.approx(0.8, abs=0.02)


def test_quality_of_the_truth_itself_is_the_mass_within_three_deviations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes_, "ROWS", 1_000)
    rng = np.random.default_rng(6)
    samples = RING[rng.integers(0, 8, 20_000)] + 0.1 * rng.standard_normal((20_000, 2))
    expected = stats.chi(2).cdf(3.0)
    for given in (samples, torch.from_numpy(samples)):
        found = mode_coverage(given, RING, 0.1)
        assert found.quality == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20_000))
        assert found.covered == 8


def test_divergence_is_scipys_relative_entropy() -> None:
    counts, expected = [10, 0, 30, 5], [1, 2, 3, 4]
    assert divergence_from(counts, expected) == pytest.approx(stats.entropy(counts, expected))
    assert divergence_from([7, 0, 0, 0]) == pytest.approx(np.log(4))
    assert np.isnan(divergence_from([0, 0]))


# ---- rivals -------------------------------------------------------------------------------------------------------------


def test_separation_is_scikit_learns() -> None:
    rng = np.random.default_rng(7)
    real, made = rng.integers(-3, 6, 80) / 2, rng.integers(-6, 3, 50) / 2  # with ties
    truth, scores = np.repeat([1, 0], [80, 50]), np.concatenate([real, made])
    found = score_separation(real, torch.from_numpy(made))
    weights = np.repeat([1 / 80, 1 / 50], [80, 50])
    assert found.area == pytest.approx(roc_auc_score(truth, scores))
    assert found.accuracy == pytest.approx(accuracy_score(truth, scores > 0, sample_weight=weights))


def test_diversity_is_the_ratio_of_mean_distances() -> None:
    real, made = two(40, 30)
    pairs = [np.mean([np.linalg.norm(x[i] - x[j]) for i in range(len(x)) for j in range(i)]) for x in (made, real)]
    assert relative_diversity(made, real) == pytest.approx(pairs[0] / pairs[1])
    assert relative_diversity(np.zeros((5, 7)), real) == 0
    assert relative_diversity(2 * real, real) == pytest.approx(2)


def test_energy_distance_in_one_dimension_is_scipys() -> None:
    """SciPy's counts each example with itself and takes the root."""
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal(50), 2 * rng.standard_normal(60) + 1
    within = [np.abs(a[:, None] - a[None]).mean() for a in (x, y)]
    between = np.abs(x[:, None] - y[None]).mean()
    assert stats.energy_distance(x, y) ** 2 == pytest.approx(2 * between - sum(within))
    unbiased = within[0] * 50 / 49 + within[1] * 60 / 59
    assert energy_distance(x[:, None], torch.from_numpy(y[:, None])) == pytest.approx(1 - unbiased / (2 * between))
    assert energy_distance(np.zeros((3, 2)), np.zeros((4, 2))) == 0
    assert energy_distance(np.zeros((3, 2)), np.ones((4, 2))) == 1


def test_slopes_are_those_of_differences_and_leave_the_critic_alone() -> None:
    torch.manual_seed(0)
    critic = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        shift = 1e-6 * torch.eye(3, dtype=torch.float64)
        by_axis = [(critic(x + step) - critic(x - step)) / 2e-6 for step in shift]
    found = slope_norms(critic, x)
    torch.testing.assert_close(found, torch.cat(by_axis, 1).norm(dim=1), rtol=1e-6, atol=1e-8)
    assert all(parameter.grad is None for parameter in critic.parameters())
    with torch.no_grad():
        torch.testing.assert_close(slope_norms(critic, x), found)


# ---- bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda x: frechet_distance(x[:1], x), "at least 2 rows"),
        (lambda x: frechet_distance(x, x[:, :2]), "one width"),
        (lambda x: kernel_distance(x[:, 0], x), r"\(n, d\)"),
        (lambda x: frechet_distance(np.where(x > 0, np.nan, x), x), "not finite"),
        (lambda x: frechet_of_gaussians(x[0], x, x[0], x), "covariances"),
        (lambda x: sample_quality(x, x, 0), "one neighbour"),
        (lambda x: sample_quality(x[:4], x, 4), "at least 5 rows"),
        (lambda x: mode_coverage(x, x[:2, :2], 1.0), "one width"),
        (lambda x: mode_coverage(x, x[:2], 0.0), "must be positive"),
        (lambda x: divergence_from([1, -1]), "none below zero"),
        (lambda x: divergence_from([1, 1], [1, 0]), "infinite"),
        (lambda x: score_separation([], x), "at least one score"),
        (lambda x: score_separation([np.nan], [1.0]), "NaN"),
        (lambda x: relative_diversity(x, np.zeros((3, 3))), "all alike"),
        (lambda x: slope_norms(lambda v: v, torch.from_numpy(x)), "one score"),
    ],
)
def test_bad_input_is_refused(call: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        call(np.random.default_rng(8).standard_normal((12, 3)))  # type: ignore[operator]
