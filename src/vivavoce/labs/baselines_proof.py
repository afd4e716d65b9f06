"""Known truth for question 1: worlds that need a rule, a classical model or a network, and tests that keep their level."""

from __future__ import annotations

import math

import numpy as np

from vivavoce.labs.baselines_ladder import Budget, Ladder, climb
from vivavoce.labs.baselines_words import unit
from vivavoce.labs.baselines_worlds import MAKERS, World
from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.lab import Claim, Context, Table, held
from vivavoce.measure.paired import corrected_t
from vivavoce.measure.student import two_sided_p
from vivavoce.report.words import number

ROWS = (1_000, 400)  # of a world: full, quick
BUDGETS = (Budget(4, 5, 2), Budget(2, 5, 1))
SIMULATIONS = (1_000, 200)
SIMULATED_ROWS, SIMULATED_FEATURES = 100, 5
SIMULATED_REPEATS = 4  # repetitions of the folds; the plain test gets worse with them
LEVEL = 0.05
CHANCE = 1.645  # standard errors of the measured rate: one-sided 95 %


def climbs(context: Context) -> list[tuple[World, Ladder]]:
    """The ladder on each of the worlds."""
    makers = [maker(context.rng(place), ROWS[context.quick]) for place, maker in enumerate(MAKERS)]
    budget = BUDGETS[context.quick]
    return [(world, climb(world.examples, budget, context, f"world of {world.name}")) for world in makers]


def right_rungs(found: list[tuple[World, Ladder]]) -> list[Claim]:
    """Whether each world's need was found."""
    return [
        held(
            f"{world.name}: a {world.needs} is enough"
            if world.needs != "network"
            else f"{world.name}: it takes a network",
            f"{ladder.best.name} ({ladder.best.kind}), {unit(world.examples)} {number(float(ladder.best.losses.mean()))}",
            f"{world.needs}: {world.why}",
            ladder.best.kind == world.needs,
        )
        for world, ladder in found
    ]


def folklore(found: list[tuple[World, Ladder]]) -> list[Claim]:
    """What is said of trees, networks and larger models."""
    by_name = {world.name: ladder for world, ladder in found}
    losses = {name: {r.name: float(r.losses.mean()) for r in ladder.rungs} for name, ladder in by_name.items()}
    stairs, folds, rule = (losses[name] for name in ("stairs", "oblique folds", "one threshold"))
    trees_win = stairs["boosted trees"] < stairs["network"] and folds["boosted trees"] > folds["network"]
    return [
        Claim(
            "on tables, trees beat networks",
            f"{number(stairs['boosted trees'])} to {number(stairs['network'])} on stairs, {number(folds['boosted trees'])} to {number(folds['network'])} on oblique folds",
            "trees the lower one in both",
            "holds only when" if trees_win else "does not hold",
            "the truth runs along the columns" if trees_win else "",
        ),
        held(
            "a more capable model is at least as good, if it is tuned",
            f"log loss {number(rule['network'])} of the network, {number(rule['rule'])} of the rule",
            "no higher than that of the rule",
            rule["network"] <= rule["rule"],
            "What a model could express beside the truth, it must be taught not to: that takes data.",
        ),
    ]


def false_positives(context: Context) -> tuple[list[Claim], dict[str, float]]:
    """How often two equally good models are told apart: by the corrected t test, and by the plain one."""
    random, runs = context.rng(50), SIMULATIONS[context.quick]
    hits = np.zeros(2)
    for _ in context.track("two equal models, compared again and again", range(runs)):
        differences = equal_models(random)
        hits += np.array([corrected_t(differences, 1 / 4).p, plain_p(differences)]) < LEVEL
    corrected, plain = (hits / runs).tolist()
    most = LEVEL + CHANCE * math.sqrt(LEVEL * (1 - LEVEL) / runs)
    return [
        held(
            "the corrected t test finds a difference where there is none in at most 1 case of 20",
            f"{100 * corrected:.1f} % of {runs:,}",
            f"at most 5 % (up to {100 * most:.1f} % by chance)",
            corrected <= most,
        ),
        held(
            "so does a plain t test over the folds",
            f"{100 * plain:.1f} % of {runs:,}",
            f"at most 5 % (up to {100 * most:.1f} % by chance)",
            plain <= most,
            "The folds share their training data: to repeat them adds digits, not information.",
        ),
    ], {"corrected": corrected, "plain": plain}


def plain_p(differences: Floats) -> float:
    """The p-value of the t test that takes the splits for independent."""
    t = float(differences.mean() / differences.std(ddof=1) * math.sqrt(len(differences)))
    return two_sided_p(t, len(differences) - 1)


def equal_models(random: np.random.Generator) -> Floats:
    """Differences of the test errors of two linear models, on repeated folds of one data set.

    Each sees a half of the features of its own; the halves are exchangeable, so that neither way of modelling is better.
    """
    d = SIMULATED_FEATURES
    x = random.standard_normal((SIMULATED_ROWS, 2 * d))
    y = x.sum(axis=1) / math.sqrt(2 * d) + random.standard_normal(SIMULATED_ROWS)
    differences = []
    for _ in range(SIMULATED_REPEATS):
        fold = random.permutation(SIMULATED_ROWS) % 5
        for number_ in range(5):
            train, test = fold != number_, fold == number_
            errors = [_error(x[:, half], y, train, test) for half in (slice(0, d), slice(d, 2 * d))]
            differences.append(errors[0] - errors[1])
    return np.array(differences)


def _error(x: Floats, y: Floats, train: np.ndarray[tuple[int], np.dtype[np.bool_]], test: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:  # fmt: skip
    part = x[train]
    weights = np.linalg.solve(part.T @ part, part.T @ y[train])
    return float(np.mean((y[test] - x[test] @ weights) ** 2))


def table(found: list[tuple[World, Ladder]]) -> Table:
    """The loss of every model in every world."""
    names = [rung.name for rung in found[0][1].rungs]
    rows = [
        [
            world.name,
            unit(world.examples),
            *(number(float(r.losses.mean())) + (" ←" if r is ladder.best else "") for r in ladder.rungs),
        ]
        for world, ladder in found
    ]
    return Table("Mean test loss in each world; ← is worth climbing to", ["world", "loss", *names], rows)


def plot(found: list[tuple[World, Ladder]]) -> XYPlot:
    """Loss over the rungs, as a share of the constant's."""
    names = ", ".join(f"{place} {rung.name}" for place, rung in enumerate(found[0][1].rungs, 1))
    lines = []
    for world, ladder in found:
        first = float(ladder.rungs[0].losses.mean())
        shown = [rung.interval(ladder.budget) for rung in ladder.rungs]
        mean, low, high = (np.array([getattr(s, k) for s in shown]) / first for k in ("mean", "low", "high"))
        lines.append(Line(world.name, np.arange(1.0, len(mean) + 1), mean, np.maximum(low, 0.0), high))
    note = "Each world stops getting better at the rung that it needs. Bands are 95 % intervals."
    return XYPlot("worlds", "How far up it pays to climb", note, f"rung: {names}", "loss, share of the constant's", lines)  # fmt: skip
