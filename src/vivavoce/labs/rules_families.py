"""Family trees whose ages are known: weak features of each person, noisy labels of a few, and who must be older than whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from vivavoce.labs.figures import Floats
from vivavoce.labs.threads import one_thread
from vivavoce.measure.rules import Places, rule_penalty
from vivavoce.measure.rules_linear import LinearRule, comparison

CHILDREN = 3
MEMBERS = 6 + CHILDREN  # four grandparents, father, mother, children
GRANDPARENTS, FATHER, MOTHER = (0, 1, 2, 3), 4, 5
FEATURES = 6
FEATURE_NOISE = 1.6  # standard deviations of age: what the features say of it is weak
LABEL_NOISE = 4.0  # years
HIDDEN = 16
STEPS = 60
LEARNING_RATE = 0.01
DECAY = 1.0
WEIGHT = 1.0  # of the rule's hinge against the squared error, both in standard deviations of age
YEARS = 1e-6  # by which "older" must differ


@dataclass(frozen=True)
class Families:
    """`ages` (families, MEMBERS) in years, `features` (families, MEMBERS, FEATURES)."""

    ages: Floats
    features: Floats


def make_families(count: int, random: np.random.Generator) -> Families:
    """Families in which every grandparent is older than the father, and every parent than the children."""
    ages = np.zeros((0, MEMBERS))
    while len(ages) < count:
        children = random.uniform(0, 25, (count, CHILDREN))
        eldest = children.max(axis=1)
        father = eldest + np.clip(random.normal(30, 6, count), 17, None)
        mother = eldest + np.clip(random.normal(28, 5, count), 17, None)
        gaps = np.clip(random.normal(27, 5, (count, 4)), 17, None)
        grandparents = np.stack([father, father, mother, mother], axis=1) + gaps
        tree = np.column_stack([grandparents, father, mother, children])
        ages = np.vstack([ages, tree[grandparents.min(axis=1) > father + 1]])
    ages = ages[:count]
    scaled = (ages - 42) / 27  # mean and standard deviation of these ages
    shapes = np.stack([scaled, np.tanh(scaled), scaled**2 - 1, scaled, np.abs(scaled), np.tanh(2 * scaled)], axis=-1)
    return Families(ages, shapes + FEATURE_NOISE * random.standard_normal(shapes.shape))


def older(count: int, everyone: bool = False) -> LinearRule:
    """Of each family: grandparents are older than the father; with `everyone` than both parents, and those than the children."""
    pairs = [(old, FATHER) for old in GRANDPARENTS]
    if everyone:
        parents = [(parent, child) for parent in (FATHER, MOTHER) for child in range(6, MEMBERS)]
        pairs += [(2, MOTHER), (3, MOTHER), *parents]
    places: Places = np.array(pairs)[None] + MEMBERS * np.arange(count)[:, None, None]
    places = places.reshape(-1, 2)
    return comparison(places[:, 0], places[:, 1], YEARS)


@dataclass(frozen=True)
class Labels:
    """Which people (flat numbers) are labelled, and with what age."""

    people: Places
    ages: Floats


def make_labels(families: Families, count: int, random: np.random.Generator) -> Labels:
    """Noisy ages of `count` people: whole families first, so that some labelled pairs can contradict a rule."""
    people = np.arange(families.ages.size)[:count]
    return Labels(people, families.ages.ravel()[people] + LABEL_NOISE * random.standard_normal(count))


@one_thread()
def train(families: Families, labels: Labels, rule: LinearRule | None, seed: int) -> nn.Module:
    """A small network from the features of a person to the age in years, with the rule's hinge where one is given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Ages(float(labels.ages.mean()), float(labels.ages.std()) or 1.0)
    inputs = torch.tensor(families.features.reshape(-1, FEATURES), dtype=torch.float32)
    wanted = torch.tensor(labels.ages, dtype=torch.float32)
    people = torch.tensor(labels.people)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        optimizer.zero_grad()
        ages = model(inputs if rule is not None else inputs[people])
        error = (ages[people] if rule is not None else ages) - wanted
        loss = (error / model.deviation).square().mean()
        if rule is not None:
            loss = loss + WEIGHT * rule_penalty(rule, ages / model.deviation)
        loss.backward()
        optimizer.step()
    return model


class _Ages(nn.Module):
    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        ages: torch.Tensor = self.mean + self.deviation * self.layers(features).squeeze(-1)
        return ages


@one_thread()
def predict(model: nn.Module, families: Families) -> Floats:
    """Ages in years, shape (families, MEMBERS)."""
    with torch.no_grad():
        found = model(torch.tensor(families.features, dtype=torch.float32))
    return np.asarray(found.double().numpy())
