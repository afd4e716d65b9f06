"""The ladder against worlds whose winner is known, its tests against simulated nulls, its scores against scikit-learn."""

from __future__ import annotations

import numpy as np
from bench._instruments import Bar
from sklearn import metrics

from vivavoce.labs.baselines_ladder import Budget, climb
from vivavoce.labs.baselines_proof import equal_models, plain_p
from vivavoce.labs.baselines_worlds import MAKERS
from vivavoce.labs.lab import Context
from vivavoce.measure import example_losses as losses
from vivavoce.measure.paired import corrected_t, holm, paired_bootstrap

LAB = "baselines"
LEVEL = 0.05
BY_CHANCE = 0.0635  # false positives of a test of level 5 % in 1,000 simulations: 95 % of the time no more
ROWS, BUDGET = 400, Budget(settings=2, folds=5, repeats=1)  # of a world: 2 s


def bars(quick: bool) -> list[Bar]:
    return [_agreement(20 if quick else 200), *_levels(200 if quick else 1_000), *_verdicts(8 if quick else 100)]


def _agreement(cases: int) -> Bar:
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(cases):
        n, classes = int(rng.integers(10, 200)), int(rng.integers(2, 8))
        y, p = rng.integers(0, classes, n), rng.dirichlet(np.ones(classes), n)
        a, b = rng.standard_normal((2, n))
        yes, score = rng.permutation(n) % 2 == 0, rng.integers(0, 20, n) / 7
        pairs = [
            (losses.log_losses(y, p).mean(), metrics.log_loss(y, p, labels=np.arange(classes))),
            (1 - losses.zero_one_losses(y, p).mean(), metrics.accuracy_score(y, p.argmax(axis=1))),
            (losses.squared_losses(a, b).mean(), metrics.mean_squared_error(a, b)),
            (losses.absolute_losses(a, b).mean(), metrics.mean_absolute_error(a, b)),
            (losses.r_squared(a, b), metrics.r2_score(a, b)),
            (losses.roc_auc(yes, score), metrics.roc_auc_score(yes, score)),
        ]
        worst = max(worst, *(abs(ours - theirs) for ours, theirs in pairs))
    return Bar(LAB, "largest difference of a score from scikit-learn", worst, 1e-12, True, "scikit-learn")


def _levels(runs: int) -> list[Bar]:
    rng, hits = np.random.default_rng(1), np.zeros(4)
    for _ in range(runs):
        differences = equal_models(rng)
        skew = rng.exponential(size=(2, 200))
        family = [corrected_t(equal_models(rng), 1 / 4).p for _ in range(4)]
        hits += [
            corrected_t(differences, 1 / 4).p < LEVEL,
            paired_bootstrap(skew[0] - skew[1] ** 2 / 2, rng, samples=1_000).p < LEVEL,
            min(holm(family)) < LEVEL,
            plain_p(differences) < LEVEL,
        ]
    print(f"plain t test over the folds: {hits[3] / runs:.1%} false positives")
    about = f"false positives of {runs:,}, nominal 5 %"
    names = ("corrected t test", "paired bootstrap of heavy-tailed losses", "a family of four tests, adjusted by Holm")
    return [
        Bar(LAB, f"{name}: {about}", float(hit / runs), BY_CHANCE, True, "simulation")
        for name, hit in zip(names, hits[:3], strict=True)
    ]


def _verdicts(worlds: int) -> list[Bar]:
    right, wrong_network, simple = 0, 0, 0
    for seed in range(worlds):
        world = MAKERS[seed % len(MAKERS)](np.random.default_rng([seed, 7]), ROWS)
        found = climb(world.examples, BUDGET, Context(seed=seed)).best
        right += found.kind == world.needs
        simple += world.needs != "network"
        wrong_network += world.needs != "network" and found.kind == "network"
        if found.kind != world.needs:
            print(f"seed {seed}, {world.name}: {found.name}", flush=True)
    return [
        Bar(LAB, f"right verdict in {worlds} worlds", right / worlds, 0.95, False, "known winner"),
        Bar(LAB, f"false 'you need deep learning' in {simple} of them", wrong_network / simple, 0.05, True, "known winner"),
    ]  # fmt: skip
