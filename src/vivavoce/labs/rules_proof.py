"""Known truth for the rules of question 2: family trees, curves, distances and shares that obey them exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.lab import Claim, Context, Result, Table, held
from vivavoce.labs.rules_families import (
    FATHER,
    LABEL_NOISE,
    MEMBERS,
    MOTHER,
    YEARS,
    make_families,
    make_labels,
    older,
    predict,
    train,
)
from vivavoce.labs.rules_network import fit, outputs
from vivavoce.measure.rules import Rule, check_rule
from vivavoce.measure.rules_evidence import REFUSED, contradiction
from vivavoce.measure.rules_linear import comparison, conservation
from vivavoce.measure.rules_order import MonotoneRule, SymmetryRule
from vivavoce.measure.rules_projection import dykstra

LABELS = ((9, 18, 45, 90, 360), (9, 90))  # labelled people: full, quick
SEEDS = (5, 3)
KNOWN, UNSEEN = 60, 150  # families: with some labels, and those that predictions are made for
WAYS = ("data alone", "penalty", "projection", "penalty and projection", "and parents older than children")
BARE, SOFT, PROJECTED, BOTH, EVERYONE = range(len(WAYS))
ROUNDING = 1e-9  # relative: what arithmetic may add to a squared error
LEAST_POWER = 0.95  # of sets of labels that contradict a false rule
LABEL_SETS = (200, 40)
TESTED_FAMILIES = 80  # whose labels a rule is held against
KIND_SEEDS = (8, 3)


@dataclass(frozen=True)
class Measured:
    """Of each number of labels, seed and way: root mean squared error in years and the share of broken rules."""

    labels: Sequence[int]
    errors: Floats  # (labels, seeds, ways)
    broken: Floats
    worse: int  # families whose squared error grew by a projection
    families: int
    residual: float  # of the projections: 0 is the proof that they are the nearest


def families(context: Context) -> Result:
    """Ages from few and noisy labels, with and without the rule."""
    found = _measure(context)
    few, many = found.errors[0].mean(axis=0), found.errors[-1].mean(axis=0)
    share = found.broken.mean(axis=(0, 1))
    pairs = UNSEEN * 4 * found.errors.shape[0] * found.errors.shape[1]
    squares = np.mean(found.errors**2, axis=1)  # (labels, ways)
    gains = squares[:, BARE] - squares[:, EVERYONE]
    fewest, most = found.labels[0], found.labels[-1]
    claims = [
        held(
            "with the projection no rule is broken",
            f"{share[PROJECTED]:.1%} of {pairs:,} pairs, {share[BARE]:.1%} without",
            "none",
            share[[PROJECTED, BOTH, EVERYONE]].max() == 0,
            "A grandparent is older than a person's father; families that no label comes from.",
        ),
        held(
            "it never makes the squared error larger, where the rule is true",
            f"larger in {found.worse} of {found.families:,} families",
            "in none",
            found.worse == 0,
            "The truth lies in the convex set that is projected onto: every point of it is at least as near as before.",
        ),
        held(
            "the projection is the nearest set of ages that obeys",
            f"residual {found.residual:.0e}",
            "0, but for rounding",
            found.residual < 1e-8,
            "Dykstra's algorithm; at residual 0 the Karush-Kuhn-Tucker conditions hold.",
        ),
        held(
            "the rules are worth more where data are scarce",
            f"error {few[BARE]:.1f} to {few[EVERYONE]:.1f} years at {fewest} labels, {many[BARE]:.1f} to {many[EVERYONE]:.1f} at {most}",
            "a larger gain in squared error at the fewest labels",
            gains[0] > gains[-1] > 0,
            "Penalty and projection, with parents older than their children as well.",
        ),
        _soft(found, share, few, many),
        _penalty_helps(found, squares),
    ]
    return Result("", claims, [_table(found)], _plots(found), data={"families": _data(found)})


def _soft(found: Measured, share: Floats, few: Floats, many: Floats) -> Claim:
    return held(
        "a penalty in the loss makes new predictions obey",
        f"{share[SOFT]:.1%} of pairs broken, {share[BARE]:.1%} without it",
        "next to none",
        share[SOFT] < 0.01,
        f"What holds on the families it was trained with carries over to others only in part; the error goes from {few[BARE]:.1f} to "
        f"{few[SOFT]:.1f} years at {found.labels[0]} labels, from {many[BARE]:.1f} to {many[SOFT]:.1f} at {found.labels[-1]}.",
    )


def _penalty_helps(found: Measured, squares: Floats) -> Claim:
    better = squares[:, BOTH] < squares[:, PROJECTED]
    told = ", ".join(
        f"{np.sqrt(a):.1f} to {np.sqrt(b):.1f} at {n}"
        for n, a, b in zip(found.labels, squares[:, PROJECTED], squares[:, BOTH], strict=True)
    )
    claim = "the penalty lowers the error beyond what the projection does"
    if better.all() or not better.any():
        return held(claim, told, "lower", bool(better.all()), "Years; labelled people.")
    condition = f"labels are scarce (here up to {max(n for n, b in zip(found.labels, better, strict=True) if b)})"
    return Claim(claim, told, "lower", "holds only when", condition, "Years; labelled people.")


def _measure(context: Context) -> Measured:
    labels, seeds = LABELS[context.quick], range(SEEDS[context.quick])
    shape = (len(labels), len(seeds), len(WAYS))
    errors, broken = np.zeros(shape), np.zeros(shape)
    worse = counted = 0
    residual, rule = 0.0, older(UNSEEN)
    cells = [(i, seed) for i in range(len(labels)) for seed in seeds]
    for i, seed in context.track("family trees", cells):
        random = np.random.default_rng([context.seed, seed, labels[i]])
        known, unseen = make_families(KNOWN, random), make_families(UNSEEN, random)
        given = make_labels(known, labels[i], random)
        bare = predict(train(known, given, None, seed), unseen)
        soft = predict(train(known, given, older(KNOWN), seed), unseen)
        moved = [
            dykstra(rules, ages) for rules, ages in (([rule], bare), ([rule], soft), ([older(UNSEEN, True)], soft))
        ]
        for way, ages in enumerate([bare, soft, *(item.values for item in moved)]):
            errors[i, seed, way] = np.sqrt(np.mean((ages - unseen.ages) ** 2))
            broken[i, seed, way] = check_rule(rule, ages).broken / rule.size
        for item, before in zip(moved, (bare, soft, soft), strict=True):
            worse += _grown(before - unseen.ages, item.values - unseen.ages)
            counted += UNSEEN
            residual = max(residual, item.residual)
    return Measured(labels, errors, broken, worse, counted, residual)


def _grown(before: Floats, after: Floats) -> int:
    """How many families have a larger squared error afterwards."""
    first, then = np.sum(before**2, axis=1), np.sum(after**2, axis=1)
    return int(np.sum(then > first * (1 + ROUNDING)))


def _table(found: Measured) -> Table:
    rows = [
        [f"{n:,}", *(f"{e:.1f} ({b:.0%})" for e, b in zip(error, share, strict=True))]
        for n, error, share in zip(
            found.labels, np.sqrt(np.mean(found.errors**2, axis=1)), found.broken.mean(axis=1), strict=True
        )
    ]
    caption = f"Root mean squared error in years, and in brackets the pairs that break the rule ({found.errors.shape[1]} seeds)"
    return Table(caption, ["labels", *WAYS], rows)


def _plots(found: Measured) -> list[XYPlot]:
    x = np.array(found.labels, dtype=np.float64)
    errors = []
    for i, way in enumerate(WAYS):
        ends = (found.errors[:, :, i].min(1), found.errors[:, :, i].max(1)) if i in (BARE, EVERYONE) else (None, None)
        errors.append(Line(way, x, found.errors[:, :, i].mean(1), *ends))
    broken = [Line(way, x, found.broken[:, :, i].mean(axis=1)) for i, way in enumerate(WAYS[: PROJECTED + 1])]
    return [
        XYPlot("error", "Error in age, by the number of labels", "Families that no label comes from; the bands of the first and the last span the seeds.",
               "labelled people", "years, root mean square", errors, log_x=True),
        XYPlot("broken", "Pairs in which the father is the older one", "In truth there is none.",
               "labelled people", "share of pairs", broken, log_x=True),
    ]  # fmt: skip


def _data(found: Measured) -> dict[str, object]:
    return {"labels": list(found.labels), "ways": list(WAYS), "rmse_years": found.errors, "broken": found.broken}


def refusals(context: Context) -> Result:
    """A true rule must pass the labels, a false one must not; and what obeying a false one would cost."""
    count = LABEL_SETS[context.quick]
    fathers = MEMBERS * np.arange(TESTED_FAMILIES) + FATHER
    true, false = comparison(fathers - FATHER, fathers, YEARS), comparison(fathers - FATHER + MOTHER, fathers, YEARS)
    refused, harm, broken = {"true": 0, "false": 0}, [], 0
    for index in context.track("refusing rules", range(count)):
        random = np.random.default_rng([context.seed, 1, index])
        group = make_families(TESTED_FAMILIES, random)
        labels = group.ages + LABEL_NOISE * random.standard_normal(group.ages.shape)
        refused["true"] += contradiction(true, labels, LABEL_NOISE) < REFUSED
        refused["false"] += contradiction(false, labels, LABEL_NOISE) < REFUSED
        broken += check_rule(false, group.ages).broken
        guess = group.ages[:, [FATHER, MOTHER]] + LABEL_NOISE * random.standard_normal((TESTED_FAMILIES, 2))
        moved = dykstra([comparison(2 * np.arange(TESTED_FAMILIES) + 1, 2 * np.arange(TESTED_FAMILIES))], guess).values
        truth = group.ages[:, [FATHER, MOTHER]]
        harm.append(np.mean((moved - truth) ** 2) / np.mean((guess - truth) ** 2))
    claims = [
        held(
            "a rule that the labels contradict is refused",
            f"'a mother is older than the father' in {refused['false']} of {count} sets of labels",
            f"in at least {LEAST_POWER:.0%}",
            refused["false"] >= LEAST_POWER * count,
            f"It fails in {broken / count / TESTED_FAMILIES:.0%} of {TESTED_FAMILIES} families; the labels have noise of {LABEL_NOISE:g} years. "
            f"Obeyed all the same, it multiplies the squared error of the parents' ages by {np.mean(harm):.1f}.",
        ),
        held(
            "a true rule is not refused because of noise in the labels",
            f"'a grandparent is older than the father' in {refused['true']} of {count}",
            "in none",
            refused["true"] <= 2 * REFUSED * count,
            f"A bound of the probability below {REFUSED:g} refuses.",
        ),
    ]
    return Result("", claims, data={"refused": refused, "label_sets": count})


@dataclass(frozen=True)
class _Kind:
    """A task whose truth obeys a rule: draws inputs, true outputs and the rule on the outputs of the unseen inputs."""

    name: str
    rule: str
    make: Callable[[np.random.Generator], tuple[Floats, Floats, Rule]]
    noise: float


def kinds(context: Context) -> Result:
    """Order, symmetry and sums: a network learns from 15 noisy examples, and its other answers are projected."""
    claims, rows = [], []
    for kind in context.track("kinds of rules", KINDS):
        before, after, broken, left = [], [], 0, 0
        for seed in range(KIND_SEEDS[context.quick]):
            inputs, truth, rule = kind.make(np.random.default_rng([context.seed, 2, seed]))
            found = _learned(inputs, truth, kind.noise, context, seed)
            moved = dykstra([rule], found).values
            before.append(np.mean((found - truth) ** 2))
            after.append(np.mean((moved - truth) ** 2))
            broken += check_rule(rule, found).broken
            left += check_rule(rule, moved).broken
        never = all(b <= a * (1 + ROUNDING) for a, b in zip(before, after, strict=True))
        gain = 1 - np.sum(after) / np.sum(before)
        claims.append(
            held(
                f"{kind.name}: none broken, the squared error never larger",
                f"{broken:,} broken before, {left} after; error {-gain:+.1%}",
                "0 after; at most 0 %",
                left == 0 and never,
                kind.rule,
            )
        )
        rows.append([kind.name, f"{broken:,}", str(left), f"{np.mean(before):.4g}", f"{np.mean(after):.4g}"])
    heads = ["rule", "broken before", "after", "squared error before", "after"]
    table = Table("Other rules, projected onto", heads, rows)
    return Result("", claims, [table], [_curve(context)])


def _learned(inputs: Floats, truth: Floats, noise: float, context: Context, seed: int) -> Floats:
    """What a small network says of all inputs after 15 noisy examples of them."""
    random = np.random.default_rng([context.seed, 3, seed])
    rows = random.permutation(len(inputs))[:15]
    labels = truth[rows] + noise * random.standard_normal(truth[rows].shape)
    return outputs(fit(inputs[rows], labels, seed, steps=300), inputs)


def _order(random: np.random.Generator) -> tuple[Floats, Floats, Rule]:
    x = np.sort(random.uniform(-1, 1, 200))
    return x[:, None], (np.tanh(4 * x) + x)[:, None], MonotoneRule(np.arange(200), x)


def _distances(random: np.random.Generator) -> tuple[Floats, Floats, Rule]:
    places = random.uniform(-1, 1, (14, 2))
    a, b = (index.ravel() for index in np.meshgrid(np.arange(14), np.arange(14), indexing="ij"))
    truth = np.linalg.norm(places[a] - places[b], axis=1)[:, None]
    inputs = np.hstack([places[a], places[b]])
    return inputs, truth, SymmetryRule(np.arange(len(a)), np.minimum(a, b) * 14 + np.maximum(a, b))


def _shares(random: np.random.Generator) -> tuple[Floats, Floats, Rule]:
    x = random.normal(size=(150, 3))
    parts = np.exp(1.5 * x)
    return x, parts / parts.sum(1, keepdims=True), conservation(np.arange(450).reshape(150, 3), 1.0)


KINDS = (
    _Kind("order", "A curve that never falls, at 200 places.", _order, 0.5),
    _Kind("symmetry", "A distance is the same both ways, between 14 places.", _distances, 0.2),
    _Kind("conservation", "Three shares of a whole add up to 1, of 150 wholes.", _shares, 0.1),
)


def _curve(context: Context) -> XYPlot:
    inputs, truth, rule = _order(np.random.default_rng([context.seed, 2, 0]))
    found = _learned(inputs, truth, KINDS[0].noise, context, 0)
    moved, x = dykstra([rule], found).values, inputs[:, 0]
    lines = [Line("truth", x, truth[:, 0]), Line("network", x, found[:, 0]), Line("projected", x, moved[:, 0])]
    return XYPlot("order", "A curve that must not fall", "A network after 15 noisy examples, and the nearest curve that obeys.",
                  "x", "y", lines)  # fmt: skip
