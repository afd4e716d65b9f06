"""Rules against quadratic programming and isotonic regression, and on family trees beside LTNtorch (pip install --no-deps LTNtorch==1.0.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from bench._instruments import Bar, fastest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from torch import nn

from vivavoce.labs.rules_families import (
    DECAY,
    FEATURES,
    LEARNING_RATE,
    Families,
    Labels,
    _Ages,
    make_families,
    make_labels,
    older,
    predict,
    train,
)
from vivavoce.measure import LinearRule, MonotoneRule, check_rule, project_onto_rules, rule_penalty

LAB = "rules"
KNOWN, UNSEEN = 60, 150  # families
LABELLED = (9, 45)
PEER_STEPS = (60, 200, 600)  # the peer's loss is flatter: it gets whichever is best for it
COST_REPEATS = 40
ALPHA = 1.0  # of its predicate for equality, exp(-α |difference|), in standard deviations of age


def bars(quick: bool) -> list[Bar]:
    return [_against_programming(quick), _against_isotonic(quick), *_families(quick), *_peer(quick)]


def _against_programming(quick: bool) -> Bar:
    worst = 0.0
    for seed in range(10 if quick else 100):
        random = np.random.default_rng(seed)
        truth = random.normal(0, 3, 6)
        places = np.stack([random.permutation(6)[:3] for _ in range(6)])
        coefficients = random.normal(size=places.shape)
        rule = LinearRule(places, coefficients, random.exponential(1, 6) - np.sum(truth[places] * coefficients, axis=1))
        y = truth + random.normal(0, 5, 6)
        found = project_onto_rules(rule, y)
        solved = minimize(
            lambda x, y=y: 0.5 * np.sum((x - y) ** 2),
            truth,
            jac=lambda x, y=y: x - y,
            constraints=[{"type": "ineq", "fun": rule.left}],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1_000},
        )
        worst = max(worst, float(np.abs(found - solved.x).max()))
    return Bar(LAB, "largest difference of the projection from quadratic programming", worst, 1e-5, True, "scipy SLSQP")


def _against_isotonic(quick: bool) -> Bar:
    worst = 0.0
    for seed in range(20 if quick else 200):
        y = np.random.default_rng(seed).normal(size=500)
        found = project_onto_rules(MonotoneRule(np.arange(500), np.arange(500)), y)
        worst = max(worst, float(np.abs(found - IsotonicRegression().fit_transform(np.arange(500), y)).max()))
    return Bar(LAB, "largest difference of order from isotonic regression", worst, 1e-12, True, "scikit-learn")


def _tasks(labels: int, seeds: int) -> Iterator[tuple[int, Families, Families, Labels]]:
    for seed in range(seeds):
        random = np.random.default_rng([7, seed, labels])
        known, unseen = make_families(KNOWN, random), make_families(UNSEEN, random)
        yield seed, known, unseen, make_labels(known, labels, random)


def _families(quick: bool) -> Iterator[Bar]:
    worst, left, rule = 0.0, 0, older(UNSEEN)
    for labels in LABELLED:
        for seed, known, unseen, given in _tasks(labels, 2 if quick else 6):
            bare = predict(train(known, given, None, seed), unseen)
            moved = project_onto_rules(rule, bare)
            worst = max(worst, float(np.sum((moved - unseen.ages) ** 2) / np.sum((bare - unseen.ages) ** 2)))
            left += check_rule(rule, moved).broken
    yield Bar(
        LAB, "squared error of ages after the projection over that before, highest", worst, 1.0, True, "known truth"
    )
    yield Bar(LAB, "pairs that break the rule afterwards", float(left), 0, True, "known truth")


def _peer(quick: bool) -> Iterator[Bar]:
    try:
        import ltn
    except ImportError:
        print("LTNtorch is not installed: no comparison on family trees")
        return
    for labels in LABELLED:
        ours, theirs, broken = [], [], []
        for seed, known, unseen, given in _tasks(labels, 2 if quick else 6):
            mine = project_onto_rules(older(UNSEEN), predict(train(known, given, older(KNOWN), seed), unseen))
            ours.append(_error(mine, unseen))
            runs = [predict(_train_ltn(ltn, known, given, seed, steps), unseen) for steps in PEER_STEPS]
            theirs.append([_error(ages, unseen) for ages in runs])
            broken.append([check_rule(older(UNSEEN), ages).broken / older(UNSEEN).size for ages in runs])
        best = int(np.argmin(np.mean(theirs, axis=0)))
        ratio = float(np.mean(ours) / np.mean(theirs, axis=0)[best])
        yield Bar(
            LAB,
            f"error of ages from {labels} labels over that of LTNtorch",
            ratio,
            1.0,
            True,
            "LTNtorch, same network, its best number of steps",
        )
        yield Bar(
            LAB,
            f"share of pairs that LTNtorch leaves broken less ours, {labels} labels",
            float(np.mean(broken, axis=0)[best]),
            0.0,
            False,
            "LTNtorch",
        )
    yield _cost(ltn)


def _error(ages: np.ndarray, families: Families) -> float:
    return float(np.sqrt(np.mean((ages - families.ages) ** 2)))


def _pairs(families: Families) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.tensor(families.features.reshape(-1, FEATURES), dtype=torch.float32)
    places = torch.tensor(older(len(families.ages)).places)
    return features[places[:, 0]], features[places[:, 1]]


def _satisfaction(ltn: object, model: nn.Module, pairs: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], object]:
    """The truth of "every grandparent is older than the father", of ages in standard deviations."""
    older_than = ltn.Predicate(func=lambda a, b: torch.sigmoid((a - b).flatten()))
    age = ltn.Function(func=lambda features: model.layers(features))
    every = ltn.Quantifier(ltn.fuzzy_ops.AggregPMeanError(p=2), quantifier="f")

    def measure() -> object:
        old, young = (ltn.Variable(name, part) for name, part in zip(("old", "young"), pairs, strict=True))
        return every(ltn.diag(old, young), older_than(age(old), age(young)))

    return measure


def _train_ltn(ltn: object, known: Families, given: Labels, seed: int, steps: int) -> nn.Module:
    torch.manual_seed(seed)
    model = _Ages(float(given.ages.mean()), float(given.ages.std()))
    features = torch.tensor(known.features.reshape(-1, FEATURES)[given.people], dtype=torch.float32)
    wanted = torch.tensor((given.ages - model.mean) / model.deviation, dtype=torch.float32)[:, None]
    equal = ltn.Predicate(func=lambda u, v: torch.exp(-ALPHA * (u - v).abs().flatten()))
    age = ltn.Function(func=lambda x: model.layers(x))
    every = ltn.Quantifier(ltn.fuzzy_ops.AggregPMeanError(p=2), quantifier="f")
    together = ltn.fuzzy_ops.SatAgg()
    rule = _satisfaction(ltn, model, _pairs(known))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    for _ in range(steps):
        optimizer.zero_grad()
        x, y = ltn.Variable("x", features), ltn.Variable("y", wanted)
        loss = 1 - together(every(ltn.diag(x, y), equal(age(x), y)), rule())
        loss.backward()
        optimizer.step()
    return model


def _cost(ltn: object) -> Bar:
    """Seconds of a forward and a backward pass of the rule alone over 2,000 families, interleaved."""
    rule = older(2_000)
    ages = torch.randn(rule.reach, requires_grad=True)
    old, young = torch.tensor(rule.places).T
    older_than = ltn.Predicate(func=lambda a, b: torch.sigmoid((a - b).flatten()))
    every = ltn.Quantifier(ltn.fuzzy_ops.AggregPMeanError(p=2), quantifier="f")

    def theirs() -> None:
        pairs = ltn.Variable("old", ages[old][:, None]), ltn.Variable("young", ages[young][:, None])
        (1 - every(ltn.diag(*pairs), older_than(*pairs)).value).backward()

    times = [(fastest(lambda: rule_penalty(rule, ages).backward(), 1), fastest(theirs, 1)) for _ in range(COST_REPEATS)]
    ratio = float(np.divide(*np.min(times, axis=0)))
    return Bar(LAB, "time of the penalty with its gradient over LTNtorch's, 8,000 pairs", ratio, 1.0, True, "LTNtorch")
