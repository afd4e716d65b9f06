"""Losses and scores against scikit-learn, and folds against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from vivavoce.measure import stratified_folds
from vivavoce.measure.example_losses import (
    absolute_losses,
    brier_losses,
    log_losses,
    r_squared,
    roc_auc,
    squared_losses,
    zero_one_losses,
)


@pytest.mark.parametrize("seed", range(5))
def test_means_are_scikit_learns_scores(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, p = random.integers(0, 4, 60), random.dirichlet(np.ones(4), 60)
    a, b = random.standard_normal((2, 60))
    assert log_losses(y, p).mean() == pytest.approx(metrics.log_loss(y, p, labels=range(4)), abs=1e-12)
    assert 1 - zero_one_losses(y, p).mean() == pytest.approx(metrics.accuracy_score(y, p.argmax(1)), abs=1e-12)
    assert squared_losses(a, b).mean() == pytest.approx(metrics.mean_squared_error(a, b), abs=1e-12)
    assert absolute_losses(a, b).mean() == pytest.approx(metrics.mean_absolute_error(a, b), abs=1e-12)
    assert r_squared(a, b) == pytest.approx(metrics.r2_score(a, b), abs=1e-12)
    yes, scores = y > 1, random.integers(0, 9, 60) / 9
    assert roc_auc(yes, scores) == pytest.approx(metrics.roc_auc_score(yes, scores), abs=1e-12)


def test_brier_of_two_classes_is_twice_scikit_learns() -> None:
    random = np.random.default_rng(9)
    y, p = random.integers(0, 2, 50), random.random(50)
    ours = brier_losses(y, np.column_stack([1 - p, p])).mean()
    assert ours == pytest.approx(2 * metrics.brier_score_loss(y, p), abs=1e-12)


def test_a_floor_bounds_the_loss() -> None:
    assert log_losses([0], [[0.0, 1.0]], 0.01).tolist() == pytest.approx([-np.log(0.01)])
    assert np.isnan(roc_auc([True, True], [0.1, 0.2]))
    assert np.isnan(r_squared([1.0, 1.0], [1.0, 2.0]))


@pytest.mark.parametrize(
    ("labels", "probabilities", "why"),
    [
        ([0, 2], [[0.5, 0.5]] * 2, "2 classes"),
        ([0], [[0.5, 0.6]], "sum to 1"),
        ([0, 1], [[0.5, 0.5]], "expected"),
        ([0.5], [[0.5, 0.5]], "whole numbers"),
    ],
)
def test_what_has_no_loss(labels: list[float], probabilities: list[list[float]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        log_losses(labels, probabilities)


def test_numbers_of_other_shapes() -> None:
    with pytest.raises(ValueError, match="one shape"):
        squared_losses([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="one shape"):
        roc_auc([True], [1.0, 2.0])


def test_every_class_is_dealt_evenly() -> None:
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat([0, 1, 2], [53, 20, 6]))
    folds = stratified_folds(labels, 5, random)
    counts = np.array([[np.sum((labels == c) & (folds == f)) for f in range(5)] for c in range(3)])
    assert np.ptp(counts, axis=1).max() <= 1
    assert np.ptp(counts.sum(axis=0)) <= 1
    assert not np.array_equal(folds, stratified_folds(labels, 5, random))
    with pytest.raises(ValueError, match="cannot be split"):
        stratified_folds([0, 1], 5, random)
