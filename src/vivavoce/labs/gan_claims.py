"""What is claimed of a game that is over, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vivavoce.labs.figures import Floats
from vivavoce.labs.gan_game import Match
from vivavoce.labs.gan_judge import Judge, Judgement
from vivavoce.labs.gan_recipes import Recipe
from vivavoce.labs.gan_worlds import World
from vivavoce.labs.lab import Claim, held
from vivavoce.measure.modes import ModeCoverage
from vivavoce.measure.rivalry import energy_distance

MODERN = "relativistic"
COUNTED = 2_500  # samples in which modes are counted
DIVERGENCE_BAR, QUALITY_BAR = 0.02, 0.85  # nats from even shares; share of the samples within 3 deviations of a mode
CLASS_BAR = 0.1  # nats of the classes' shares from those of the data
UNDECIDED = 0.6  # area under the curve: below it the critic hardly tells made from real
LAST = 10  # looks at the end, or about a step
TELLS = 0.8  # rank correlation from which one number stands for another


@dataclass(frozen=True)
class Outcome:
    """A game that is over: with known modes their coverage, else a judgement."""

    recipe: Recipe
    match: Match
    modes: ModeCoverage | None
    judged: Judgement | None

    @property
    def area(self) -> float:
        """The area under the curve of the critic's scores at the end."""
        return float(np.median(self.match.diary.column("area")[-LAST:]))


def claims_of(world: World, outcome: Outcome, judge: Judge | None) -> list[Claim]:
    """What was expected of a game, and what came of it."""
    name = outcome.recipe.name
    claims = []
    if outcome.modes is not None:
        claims += _mode_claims(name, outcome.modes)
    elif outcome.judged is not None and judge is not None and judge.features.classes:
        found = outcome.judged
        claims.append(
            held(
                f"the {name} GAN makes every class",
                f"{found.covered} of {len(found.classes)}, KL of the classes' shares {found.divergence:.3f}",
                f"all {len(found.classes)}, KL ≤ {CLASS_BAR:g}",
                found.covered == len(found.classes) and found.divergence <= CLASS_BAR,
            )
        )
    if name == MODERN:
        claims += [_equilibrium(outcome), _cost_tells(world, outcome)]
    return claims


def _mode_claims(name: str, modes: ModeCoverage) -> list[Claim]:
    n = len(modes.counts)
    reached = held(
        f"the {name} GAN reaches every mode",
        f"{modes.covered} of {n}",
        f"{n} with at least {modes.least} of {COUNTED:,} samples",
        modes.covered == n,
    )
    if name != MODERN:
        return [reached]
    true = held(
        "it fills them evenly, and little lies between them",
        f"KL {modes.divergence:.3f}, {modes.quality:.1%} on a mode",
        f"KL ≤ {DIVERGENCE_BAR:g}, ≥ {QUALITY_BAR:.0%} within 3 deviations",
        modes.divergence <= DIVERGENCE_BAR and modes.quality >= QUALITY_BAR,
        "Of the real points 98.9 % lie there.",
    )
    return [reached, true]


def _equilibrium(outcome: Outcome) -> Claim:
    return held(
        "in the end the critic cannot tell made from real",
        f"area under the curve {outcome.area:.2f}",
        f"0.5, at most {UNDECIDED:g}",
        outcome.area <= UNDECIDED,
        "The theory speaks of networks without limits, trained for ever.",
    )


def _cost_tells(world: World, outcome: Outcome) -> Claim:
    """Whether G's cost and the distance of its samples from the data rise and fall together."""
    diary = outcome.match.diary
    shots = diary.shots[1:]  # the first is from before the training
    real = world.draw(len(shots[0][1]), torch.Generator().manual_seed(5))
    distances = [energy_distance(real, made) for _, made in shots]
    steps, costs = diary.column("step"), diary.column("generator_loss")
    near = [float(np.median(costs[np.argsort(np.abs(steps - step))[:LAST]])) for step, _ in shots]
    correlation = rank_correlation(np.array(near), np.array(distances))
    return held(
        "a falling generator's cost means better samples",
        f"rank correlation {correlation:+.2f} of cost and energy distance, at {len(shots)} times; the cost went from "
        f"{near[0]:.2f} to {near[-1]:.2f}, the distance from {distances[0]:.3f} to {distances[-1]:.3f}",
        f"at least {TELLS:g}",
        correlation >= TELLS,
        "The cost is measured against a critic that improves, too.",
    )


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of a (n,) and b (n,), equal values ranked in their order."""
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1])
