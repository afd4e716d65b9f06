"""The ladder: a constant, a rule, classical models, a network, on the same folds; how high is it worth climbing?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs import baselines_network
from vivavoce.labs.baselines_models import CLASSICAL, Kind, Model, Setting, predict
from vivavoce.labs.baselines_network import example_losses
from vivavoce.labs.figures import Floats
from vivavoce.labs.lab import Context, require
from vivavoce.labs.tables import Examples
from vivavoce.labs.threads import one_thread
from vivavoce.measure.example_losses import r_squared, zero_one_losses
from vivavoce.measure.folds import stratified_folds
from vivavoce.measure.paired import Difference, corrected_t, holm

Rows = NDArray[np.int64]

INNER_FOLDS = 4  # one of them is held out of the training rows to choose settings by
LEVEL = 0.05  # that a step up the ladder is taken in error, over all steps together
MARGIN = 0.01  # share of the loss that a step up must save: less is not worth a larger model


@dataclass(frozen=True)
class Budget:
    """What every model may spend: settings to try; folds; how often the data are split into folds anew."""

    settings: int = 6
    folds: int = 5
    repeats: int = 2


@dataclass(frozen=True)
class Rung:
    """A model on the ladder: its mean test loss on each split (splits,), a score for people, and what was chosen there.

    `score` is accuracy or R², (splits,); `seconds` those of all tuning and training. `p` is Holm's adjusted p-value of
    "it saves no more than the margin over some model below it".
    """

    name: str
    kind: Kind
    losses: Floats
    score: Floats
    choices: Sequence[str]
    seconds: float
    p: float = 1.0

    def interval(self, budget: Budget) -> Difference:
        """The mean test loss with its interval."""
        return corrected_t(self.losses, 1 / (budget.folds - 1))


@dataclass(frozen=True)
class Ladder:
    """The rungs, lowest first, and the one that it is worth climbing to."""

    rungs: Sequence[Rung]
    winner: int
    budget: Budget

    @property
    def best(self) -> Rung:
        """The rung worth climbing to."""
        return self.rungs[self.winner]

    def saved(self, rung: int) -> Difference:
        """The loss that a rung saves over the best of those below it, with its interval; negative where it loses."""
        below = min(self.rungs[:rung], key=lambda lower: float(lower.losses.mean()))
        return corrected_t(below.losses - self.rungs[rung].losses, 1 / (self.budget.folds - 1))


def climb(examples: Examples, budget: Budget, context: Context, label: str = "climbing the ladder") -> Ladder:
    """Tune, train and compare every model on the same folds. Raises LabError where scikit-learn is missing."""
    random = context.rng(91)
    train, test = _splits(examples, budget, random)
    inner = [_held_out(examples, rows, random) for rows in train]
    limits = require("threadpoolctl").threadpool_limits  # small data: threads would wait for each other
    with context.progress.task(label, 2 * len(CLASSICAL)) as advance, limits(1):
        rungs = []
        for model in CLASSICAL:
            step = partial(advance, 1 / len(train))
            rungs.append(_classical(examples, model, train, test, inner, budget, step))
        step = partial(advance, len(CLASSICAL) / baselines_network.STAGES)
        rungs.append(_network(examples, train, test, inner, budget, context.seed, step))
    return decide(rungs, budget)


def decide(rungs: Sequence[Rung], budget: Budget, margin: float = MARGIN) -> Ladder:
    """The highest rung that saves more than `margin` of the loss of *every* model below it, significantly.

    The largest of its p-values against those below is the p-value of "not better than all of them" (Berger 1982); over
    the rungs they are adjusted by Holm's method. Each is one-sided and comes from the corrected t test on the splits.
    """
    share = 1 / (budget.folds - 1)
    raw = [
        max(_one_sided((1 - margin) * lower.losses - rung.losses, share) for lower in rungs[:place])
        for place, rung in enumerate(rungs)
        if place
    ]
    adjusted = [1.0, *holm(raw).tolist()]
    winner = max((place for place, p in enumerate(adjusted) if p <= LEVEL), default=0)
    return Ladder([replace(rung, p=p) for rung, p in zip(rungs, adjusted, strict=True)], winner, budget)


def _one_sided(saved: Floats, share: float) -> float:
    found = corrected_t(saved, share)
    return found.p / 2 if found.mean > 0 else 1 - found.p / 2


def _splits(examples: Examples, budget: Budget, random: np.random.Generator) -> tuple[list[Rows], list[Rows]]:
    train, test = [], []
    for _ in range(budget.repeats):
        fold = stratified_folds(_strata(examples), budget.folds, random)
        train += [np.flatnonzero(fold != k) for k in range(budget.folds)]
        test += [np.flatnonzero(fold == k) for k in range(budget.folds)]
    return train, test


def _strata(examples: Examples) -> Rows:
    return examples.y.astype(np.int64) if examples.is_classes else np.zeros(len(examples), np.int64)


def _held_out(examples: Examples, rows: Rows, random: np.random.Generator) -> tuple[Rows, Rows]:
    fold = stratified_folds(_strata(examples)[rows], INNER_FOLDS, random)
    return rows[fold > 0], rows[fold == 0]


def _classical(
    examples: Examples,
    model: Model,
    train: list[Rows],
    test: list[Rows],
    inner: list[tuple[Rows, Rows]],
    budget: Budget,
    step: Callable[[], None],
) -> Rung:
    began = time.perf_counter()
    losses, scores, choices = [], [], []
    classes = len(examples.classes)
    for rows, judged, held in zip(train, test, inner, strict=True):
        setting = _chosen(examples, model, held, budget)
        given = predict(model.fit(examples.x[rows], examples.y[rows], classes, setting), examples.x[judged])
        losses.append(float(example_losses(examples, judged, given).mean()))
        scores.append(_score(examples, judged, given))
        choices.append(model.describe(setting))
        step()
    return Rung(model.name, model.kind, np.array(losses), np.array(scores), choices, time.perf_counter() - began)


def _chosen(examples: Examples, model: Model, held: tuple[Rows, Rows], budget: Budget) -> Setting:
    """The setting with the least loss on the inner validation rows."""
    settings = model.settings[: budget.settings]
    if len(settings) == 1:
        return settings[0]
    fit, judged = held
    found: list[tuple[float, Setting]] = []
    for setting in settings:
        stages = model.fit(examples.x[fit], examples.y[fit], len(examples.classes), setting)
        found += [
            (float(example_losses(examples, judged, given).mean()), stage)
            for stage, given in stages(examples.x[judged])
        ]
    return min(found)[1]


@one_thread()
def _network(
    examples: Examples,
    train: list[Rows],
    test: list[Rows],
    inner: list[tuple[Rows, Rows]],
    budget: Budget,
    seed: int,
    step: Callable[[], None],
) -> Rung:
    began = time.perf_counter()
    chosen = baselines_network.tuned(examples, inner, budget.settings, seed, step)
    given = baselines_network.judged(examples, train, test, chosen, seed + 1, step)
    losses = [float(example_losses(examples, rows, p).mean()) for rows, p in zip(test, given, strict=True)]
    scores = [_score(examples, rows, p) for rows, p in zip(test, given, strict=True)]
    choices = [f"width {recipe.width}, rate {recipe.rate:g}, {epoch} epochs" for recipe, epoch in chosen]
    return Rung("network", "network", np.array(losses), np.array(scores), choices, time.perf_counter() - began)


def _score(examples: Examples, rows: Rows, predictions: Floats) -> float:
    if examples.is_classes:
        return 1 - float(zero_one_losses(examples.y[rows], predictions).mean())
    return r_squared(examples.y[rows], predictions)
