"""The confident joint against its definition written out, and against a known noise; thresholds against all thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from vivavoce.measure.confusion_costs import ScoreHistogram, bayes_threshold
from vivavoce.measure.confusion_labels import ConfidentJoint, Thresholds

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def two_passes(given: Labels, probabilities: Floats, parts: int = 1, most: int = 1_000) -> ConfidentJoint:
    thresholds = Thresholds(probabilities.shape[1])
    rows = np.array_split(np.arange(len(given)), parts)
    for part in rows:
        thresholds.update(given[part], probabilities[part])
    joint = ConfidentJoint(thresholds.read(), most)
    for part in rows:
        joint.update(given[part], probabilities[part])
    return joint


def written_out(given: Labels, probabilities: Floats) -> Floats:
    """Equations 1 to 3 of Northcutt, Jiang and Chuang 2021, example by example."""
    classes = probabilities.shape[1]
    limits = [np.mean([p[j] for g, p in zip(given, probabilities, strict=True) if g == j]) for j in range(classes)]
    counts = np.zeros((classes, classes))
    for g, p in zip(given, probabilities, strict=True):
        sure = [j for j in range(classes) if p[j] >= limits[j]]
        if sure:
            counts[g, max(sure, key=lambda j: p[j])] += 1
    rows = [counts[i] / counts[i].sum() * np.sum(given == i) for i in range(classes)]
    return np.array(rows) / len(given)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("parts", [1, 4])
def test_the_joint_is_that_of_the_definition(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4) * 0.4, 300)
    given = np.array([rng.choice(4, p=p) for p in probabilities])
    np.testing.assert_allclose(
        two_passes(given, probabilities, parts).joint(), written_out(given, probabilities), atol=1e-12
    )


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_known_noise_of_digits_is_recovered(rate: float) -> None:
    x, true = load_digits(return_X_y=True)
    rng = np.random.default_rng(1)
    wrong = rng.random(len(true)) < rate
    given = np.where(wrong, (true + rng.integers(1, 10, len(true))) % 10, true)
    model = LogisticRegression(C=0.02, max_iter=300)
    probabilities = cross_val_predict(model, StandardScaler().fit_transform(x), given, cv=3, method="predict_proba")
    joint = two_passes(given, probabilities)
    called = np.array([suspect.row for suspect in joint.suspects])
    assert abs(joint.noise() - wrong.mean()) < 0.03
    assert wrong[called].mean() > 0.75
    assert wrong[called].sum() / wrong.sum() > 0.6


def test_suspects_are_ordered_bounded_and_counted() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.05, 0.95], [0.1, 0.9], [0.8, 0.2]])
    given = np.array([0, 0, 0, 1, 0])
    whole = two_passes(given, probabilities)
    few = two_passes(given, probabilities, parts=5, most=1)
    # limits: mean of .9 .2 .05 .8 = .4875 for 0, .9 for 1: row 1 is sure of nothing, row 2 of class 1
    assert [(s.row, s.given, s.suggested) for s in whole.suspects] == [(2, 0, 1)]
    assert whole.suspects[0].margin == pytest.approx(0.9)
    assert few.suspects == whole.suspects
    assert few.suspected == 1


def test_the_most_doubtful_are_kept_whatever_the_chunks() -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.ones(3) * 0.3, 400)
    given = rng.integers(0, 3, 400)
    whole = two_passes(given, probabilities)
    assert len(whole.suspects) > 20
    assert two_passes(given, probabilities, parts=9, most=20).suspects == whole.suspects[:20]


def test_a_label_that_never_occurs_is_never_suggested() -> None:
    probabilities = np.array([[0.3, 0.7], [0.4, 0.6]])
    joint = two_passes(np.array([0, 0]), probabilities)
    assert joint.noise() == 0
    np.testing.assert_allclose(joint.noise_matrix(), np.eye(2))


@pytest.mark.parametrize("row", [[0.5, 0.6], [-0.2, 1.2], [float("nan"), 1.0]])
def test_what_is_no_probability_is_refused(row: list[float]) -> None:
    with pytest.raises(ValueError, match="1 rows are no probabilities: row 2"):
        Thresholds(2).update(np.array([0, 1]), np.array([[0.5, 0.5], row]))
    with pytest.raises(ValueError, match=r"\(n, 3\) are expected"):
        Thresholds(3).update(np.array([0]), np.array([[0.5, 0.5]]))


@pytest.mark.parametrize(("alarm", "miss"), [(1.0, 1.0), (1.0, 9.0), (20.0, 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_threshold_is_the_best_of_all(seed: int, alarm: float, miss: float) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 50, 400) / 50
    real = rng.random(400) < score**2
    halves = [ScoreHistogram(), ScoreHistogram()]
    halves[0].update(real[:100], score[:100])
    halves[1].update(real[100:], score[100:])
    found = halves[0].merge(halves[1]).best(alarm, miss)
    costs = [np.mean(np.where(real, miss * (score < t), alarm * (score >= t))) for t in [*np.arange(50) / 50, 1.1]]
    assert found.cost == pytest.approx(min(costs), abs=1e-12)
    assert np.mean(
        np.where(real, miss * (score < found.threshold), alarm * (score >= found.threshold))
    ) == pytest.approx(found.cost)
    assert found.at_half == pytest.approx(costs[25], abs=1e-12)
    assert found.misses == np.sum(real & (score < found.threshold))
    assert found.false_alarms == np.sum(~real & (score >= found.threshold))


def test_true_probabilities_want_the_threshold_of_the_costs() -> None:
    """Checked by expected costs: at p the costs of yes, (1 − p)·c, and of no, p·m, are equal."""
    p = bayes_threshold(3.0, 7.0)
    assert (1 - p) * 3.0 == pytest.approx(p * 7.0)


def test_costs_and_scores_are_checked() -> None:
    histogram = ScoreHistogram()
    with pytest.raises(ValueError, match="no examples"):
        histogram.best(1, 1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        histogram.update(np.array([True]), np.array([1.5]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        histogram.update(np.array([True]), np.array([float("nan")]))
    histogram.update(np.array([True, False]), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="positive"):
        histogram.best(0, 1)
