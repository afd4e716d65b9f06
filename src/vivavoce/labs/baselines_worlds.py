"""Worlds of which it is known what they need, drawn at random: the truth that the ladder is tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vivavoce.labs.baselines_models import Kind
from vivavoce.labs.figures import Floats
from vivavoce.labs.tables import Examples

FEATURES = 10
WRONG = 0.15  # share of the answers of the rule's world that are turned round
NOISE = 0.3  # standard deviation, beside a signal of 1


@dataclass(frozen=True)
class World:
    """Examples, the lowest rung that reaches the least loss possible there, and why."""

    name: str
    examples: Examples
    needs: Kind
    why: str


def rule_world(random: np.random.Generator, n: int) -> World:
    """One threshold decides, some answers are wrong: no model can know more than the threshold."""
    x = random.standard_normal((n, FEATURES))
    above = x[:, random.integers(FEATURES)] > random.uniform(-0.5, 0.5)
    y = np.where(random.random(n) < WRONG, ~above, above).astype(np.int64)
    return World("one threshold", _examples(x, y, ("no", "yes")), "rule", "the threshold is all there is to know")


def linear_world(random: np.random.Generator, n: int) -> World:
    """A weighted sum of all features and noise: least squares is the best unbiased there is."""
    x = random.standard_normal((n, FEATURES))
    weights = random.standard_normal(FEATURES)
    y = _scaled(x @ weights) + NOISE * random.standard_normal(n)
    return World("weighted sum", _examples(x, y), "classical model", "a linear model is the truth itself")


def tree_world(random: np.random.Generator, n: int) -> World:
    """Steps along the axes, of a sum of four features: boosted trees of few leaves are of its form."""
    x = random.standard_normal((n, FEATURES))
    chosen = random.choice(FEATURES, 4, replace=False)
    steps = [_staircase(x[:, feature], random) for feature in chosen]
    y = _scaled(np.sum(steps, axis=0)) + NOISE * random.standard_normal(n)
    return World("stairs", _examples(x, y), "classical model", "sums of trees are of the form of the truth")


def network_world(random: np.random.Generator, n: int) -> World:
    """Ridges across the axes, |w·x| of several directions: smooth along none of the features, few for a network."""
    x = random.standard_normal((n, FEATURES))
    directions = np.linalg.qr(random.standard_normal((FEATURES, FEATURES)))[0][:, :4]
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    y = _scaled(np.abs(x @ directions) @ signs) + NOISE * random.standard_normal(n)
    return World("oblique folds", _examples(x, y), "network", "eight hidden units are of the form of the truth")


MAKERS: tuple[Callable[[np.random.Generator, int], World], ...] = (rule_world, linear_world, tree_world, network_world)


def _staircase(values: Floats, random: np.random.Generator) -> Floats:
    edges = np.sort(random.uniform(-1.5, 1.5, 3))
    return np.asarray(random.standard_normal(4)[np.searchsorted(edges, values)])


def _scaled(signal: Floats) -> Floats:
    return np.asarray((signal - signal.mean()) / (signal.std() or 1.0))


def _examples(
    x: Floats, y: Floats | np.ndarray[tuple[int], np.dtype[np.int64]], classes: tuple[str, ...] = ()
) -> Examples:
    return Examples(x, y, tuple(f"x{number}" for number in range(x.shape[1])), classes)
