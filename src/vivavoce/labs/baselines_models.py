"""The models of the ladder, from a constant to boosted trees. The network is in a file of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.figures import Floats
from vivavoce.labs.lab import require
from vivavoce.labs.networks import standardised

Kind = Literal["rule", "classical model", "network"]
Setting = tuple[float, ...]
Targets = NDArray[np.float64] | NDArray[np.int64]
Stages = Callable[[Floats], Iterator[tuple[Setting, Floats]]]

STRENGTHS = (1.0, 0.1, 10.0, 1e-2, 100.0, 1e-3)  # of the ridge, in examples, the features standardised
BOOSTING = (  # learning rate, leaves, trees at most, least examples of a leaf
    (0.1, 31, 100, 20),
    (0.1, 4, 150, 20),
    (0.1, 8, 100, 10),
    (0.05, 16, 150, 20),
    (0.2, 8, 60, 5),
    (0.2, 2, 150, 20),
)
TREES_APART = 10  # trees after which boosting is looked at: their number is tuned as the epochs of the network are
LEAST_LEAF = 5  # examples of a leaf of a rule
MOST_ITERATIONS = 500


@dataclass(frozen=True)
class Model:
    """A model with settings to choose from.

    `fit(x, y, classes, setting)` trains it on `x` (n, d), which may have gaps, and gives a function from features to
    pairs of a setting and its predictions: of each stage that is a setting of its own, the one asked for last.
    Predictions are probabilities (n, classes), or numbers (n,) where `classes` is 0.
    """

    name: str
    kind: Kind
    settings: Sequence[Setting]
    fit: Callable[[Floats, Any, int, Setting], Stages]
    describe: Callable[[Setting], str]


def predict(stages: Stages, x: Floats) -> Floats:
    """The predictions of the last stage."""
    *_, (_, predictions) = stages(x)
    return predictions


def fit_constant(x: Floats, y: Targets, classes: int, setting: Setting) -> Stages:
    """The mean, or the classes' frequencies."""
    value = np.bincount(y.astype(np.int64), minlength=classes) / len(y) if classes else np.array(float(y.mean()))
    return lambda new: iter([(setting, np.broadcast_to(value, (len(new), *value.shape)))])


def fit_rule(x: Floats, y: Targets, classes: int, setting: Setting) -> Stages:
    """A tree of one or two questions: "above 5 or not"."""
    tree = require("sklearn.tree")
    kind = tree.DecisionTreeClassifier if classes else tree.DecisionTreeRegressor
    model = kind(max_depth=int(setting[0]), min_samples_leaf=min(LEAST_LEAF, len(y) // 4), random_state=0)
    return _alone(model.fit(x, y), classes, setting, lambda new: new)


def fit_linear(x: Floats, y: Targets, classes: int, setting: Setting) -> Stages:
    """Ridge or logistic regression on standardised features."""
    linear = require("sklearn.linear_model")
    scale = standardised(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged to the last digit
        model = (
            linear.LogisticRegression(C=1 / setting[0], max_iter=MOST_ITERATIONS)
            if classes
            else linear.Ridge(alpha=setting[0])
        ).fit(scale(x), y)
    return _alone(model, classes, setting, scale)


def fit_boosting(x: Floats, y: Targets, classes: int, setting: Setting) -> Stages:
    """Histogram gradient boosting; its stages are numbers of trees."""
    ensemble = require("sklearn.ensemble")
    rate, leaves, trees, least = setting
    kind = ensemble.HistGradientBoostingClassifier if classes else ensemble.HistGradientBoostingRegressor
    model = kind(
        learning_rate=rate,
        max_leaf_nodes=int(leaves),
        max_iter=int(trees),
        min_samples_leaf=int(least),
        early_stopping=False,
        random_state=0,
    ).fit(x, y)

    def stages(new: Floats) -> Iterator[tuple[Setting, Floats]]:
        staged = model.staged_predict_proba(new) if classes else model.staged_predict(new)
        for number, predictions in enumerate(staged, 1):
            if number % TREES_APART == 0 or number == trees:
                yield (rate, leaves, number, least), _all_classes(model, predictions, classes)

    return stages


def _alone(model: Any, classes: int, setting: Setting, scale: Callable[[Floats], Floats]) -> Stages:
    def stages(new: Floats) -> Iterator[tuple[Setting, Floats]]:
        predicted = model.predict_proba(scale(new)) if classes else model.predict(scale(new))
        yield setting, _all_classes(model, predicted, classes)

    return stages


def _all_classes(model: Any, predictions: Floats, classes: int) -> Floats:
    """Probabilities with a column for each class, those that the model has never seen included."""
    if not classes or predictions.shape[1] == classes:
        return predictions
    full = np.zeros((len(predictions), classes))
    full[:, model.classes_] = predictions
    return full


def _about_rule(setting: Setting) -> str:
    return "one question" if setting[0] == 1 else f"{setting[0]:g} questions deep"


CONSTANT = Model("constant", "rule", ((0.0,),), fit_constant, lambda setting: "")
RULE = Model("rule", "rule", ((1.0,), (2.0,)), fit_rule, _about_rule)
LINEAR = Model(
    "linear", "classical model", [(s,) for s in STRENGTHS], fit_linear, lambda setting: f"ridge {setting[0]:g}"
)
BOOSTED = Model(
    "boosted trees",
    "classical model",
    BOOSTING,
    fit_boosting,
    lambda setting: f"{setting[2]:g} trees of {setting[1]:g} leaves, rate {setting[0]:g}",
)
CLASSICAL = (CONSTANT, RULE, LINEAR, BOOSTED)  # in the order of the ladder
