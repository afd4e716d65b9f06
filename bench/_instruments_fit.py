"""Verdicts on capacity and on more data where the truth is known, and the coverage of learning curves' intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from bench._instruments import Bar
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from vivavoce.labs.fit_proof import double_descent, more_data, polynomials
from vivavoce.labs.lab import Context
from vivavoce.measure.learning_curve import IllBehavedCurveError, extrapolate
from vivavoce.measure.paired import gap_bootstrap, paired_bootstrap

LAB = "fit"
ROWS, REPEATS, SIZES = 1_200, 6, 8
CLASSIFIERS: tuple[Callable[[], Any], ...] = (
    lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    lambda: KNeighborsClassifier(3),
    lambda: DecisionTreeClassifier(random_state=0),
    GaussianNB,
    lambda: RandomForestClassifier(10, random_state=0),
)
REGRESSORS: tuple[Callable[[], Any], ...] = (
    lambda: make_pipeline(StandardScaler(), Ridge()),
    lambda: KNeighborsRegressor(5),
    lambda: DecisionTreeRegressor(random_state=0),
    lambda: RandomForestRegressor(10, random_state=0),
    lambda: make_pipeline(StandardScaler(), SVR(C=10)),
)


def bars(quick: bool) -> list[Bar]:
    context = Context(quick=quick)
    found: list[Bar] = [*_coverage(200 if quick else 1_000)]
    _, _, told = polynomials(context)
    found.append(Bar(LAB, "under, right, over: right verdict on polynomials", told["right"], 0.9, False, "exact risk"))
    _, _, helped = more_data(context)
    found.append(Bar(LAB, "“more data will help”: right in known cases", helped["right"], 0.9, False, "exact risk"))
    _, _, descent = double_descent(context)
    found.append(
        Bar(LAB, "double descent: factor from the closed form", descent["worst_factor"], 1.25, True, "Belkin, Hsu & Xu")
    )
    found.append(
        Bar(LAB, "double descent: distance of the peak from n", abs(descent["peak"] - 40), 2, True, "closed form")
    )
    return [*found, *_curves()]  # fmt: skip


def _coverage(runs: int) -> Iterator[Bar]:
    rng, hits = np.random.default_rng(0), np.zeros(2)
    for _ in range(runs):
        pair = rng.exponential(size=100)
        change = paired_bootstrap(pair - 1.2 * rng.exponential(size=100), rng, samples=1_000)
        gap = gap_bootstrap(rng.exponential(size=300), 1.3 * rng.exponential(size=80), rng, samples=1_000)
        hits += [change.low <= -0.2 <= change.high, gap.low <= 0.3 <= gap.high]
    for name, share in zip(("paired bootstrap", "generalisation gap"), hits / runs, strict=True):
        yield Bar(LAB, f"{name}: distance of its 95 % interval's coverage from 95 %", abs(float(share) - 0.95), 0.02, True, "simulation")  # fmt: skip


def _curves() -> list[Bar]:
    """Curves of real and made data: fitted up to half, and up to a quarter, of the examples, and held against all of them."""
    covered, refused, total = np.zeros(2), np.zeros(2), np.zeros(2)
    for sizes, errors in _measured():
        for place, factor in enumerate((2, 4)):
            seen = sizes <= 1.02 * sizes[-1] / factor
            if seen.sum() < 4:
                continue
            total[place] += 1
            try:
                found = extrapolate(sizes[seen], errors[seen], [sizes[-1]], np.random.default_rng(0))
            except IllBehavedCurveError:
                refused[place] += 1
                continue
            covered[place] += found.low[0] <= errors[-1].mean() <= found.high[0]
    print(f"curves {total}, refused {refused}, covered {covered}")
    told = total - refused
    return [
        Bar(LAB, f"90 % interval at {factor} times the examples: coverage of {told[place]:.0f} curves ({refused[place]:.0f} refused)", float(covered[place] / told[place]), 0.85, False, "scikit-learn's models")
        for place, factor in enumerate((2, 4))
    ]  # fmt: skip


def _measured() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Forty learning curves: sizes (k,) and test errors (k, repeats)."""
    for x, y, classes in _data():
        for make in CLASSIFIERS if classes else REGRESSORS:
            big = int(0.8 * len(y))
            sizes = np.unique(np.geomspace(max(16, big / 64), big, SIZES).round().astype(int))
            errors = np.empty((len(sizes), REPEATS))
            for repeat in range(REPEATS):
                order = np.random.default_rng([repeat, 5]).permutation(len(y))
                test = order[big:]
                for place, size in enumerate(sizes.tolist()):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        given = make().fit(x[order[:size]], y[order[:size]]).predict(x[test])
                    errors[place, repeat] = np.mean(given != y[test]) if classes else np.mean((given - y[test]) ** 2)
            yield sizes.astype(np.float64), errors


def _data() -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    yield *datasets.load_digits(return_X_y=True), True
    yield *datasets.load_breast_cancer(return_X_y=True), True
    yield *datasets.load_diabetes(return_X_y=True), False
    yield *datasets.make_moons(ROWS, noise=0.3, random_state=0), True
    yield *datasets.make_classification(ROWS, 20, n_informative=6, flip_y=0.1, random_state=1), True
    yield *datasets.make_classification(ROWS, 15, n_informative=8, n_classes=4, class_sep=0.8, random_state=2), True
    yield *datasets.make_friedman1(ROWS, noise=1, random_state=0), False
    yield *datasets.make_friedman2(ROWS, noise=50, random_state=0), False
