"""The network of the ladder: all folds and settings are trained side by side, first to choose, then to be judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.figures import Floats
from vivavoce.labs.networks import Networks, Recipe
from vivavoce.labs.tables import Examples
from vivavoce.measure.example_losses import log_losses, squared_losses

Rows = NDArray[np.int64]

RECIPES = (
    Recipe(64, 1e-2, 0.1, 0.0),
    Recipe(64, 1e-2, 0.1, 0.2),
    Recipe(128, 3e-3, 0.1, 0.0),
    Recipe(32, 1e-2, 0.3, 0.0),
    Recipe(128, 1e-2, 0.3, 0.2),
    Recipe(64, 3e-3, 0.0, 0.0),
)
LOOKS = (3, 6, 10, 15, 20, 30, 40, 50, 60)  # epochs; their number is tuned, as that of boosting's trees is
LARGE = 4_000  # examples from which on the batches are larger
BATCHES = (64, 256)
STAGES = 2 * len(LOOKS)  # calls of `step` by `tuned` and `judged` together, at most


def example_losses(examples: Examples, rows: Rows, predictions: Floats) -> Floats:
    """The loss of each row: squared error, or log loss with no probability below 1/(2n).

    The floor is the same for all models: n examples cannot teach a smaller probability.
    """
    if not examples.is_classes:
        return squared_losses(examples.y[rows], predictions)
    return log_losses(examples.y[rows], predictions, 1 / (2 * len(examples)))


def tuned(
    examples: Examples, inner: Sequence[tuple[Rows, Rows]], settings: int, seed: int, step: Callable[[], None]
) -> list[tuple[Recipe, int]]:
    """For each split the recipe and the number of epochs with the least loss on the inner validation rows."""
    recipes = RECIPES[:settings]
    rows = [fit for fit, _ in inner for _ in recipes]
    stack = _networks(examples, rows, [recipe for _ in inner for recipe in recipes], seed)
    found: list[tuple[float, Recipe, int]] = [(np.inf, recipes[0], LOOKS[0])] * len(inner)
    for epoch, predictions in stack.course(LOOKS):
        for number, given in enumerate(predictions):
            split, recipe = number // len(recipes), recipes[number % len(recipes)]
            held = inner[split][1]
            loss = float(example_losses(examples, held, _plain(examples, given[held])).mean())
            if loss < found[split][0]:
                found[split] = loss, recipe, epoch
        step()
    return [(recipe, epoch) for _, recipe, epoch in found]


def judged(
    examples: Examples,
    train: Sequence[Rows],
    test: Sequence[Rows],
    chosen: Sequence[tuple[Recipe, int]],
    seed: int,
    step: Callable[[], None],
) -> list[Floats]:
    """The predictions for the test rows of each split, of networks trained on all its training rows."""
    stack = _networks(examples, train, [recipe for recipe, _ in chosen], seed)
    last = max(epoch for _, epoch in chosen)
    kept: dict[int, Floats] = {}
    for epoch, predictions in stack.course([look for look in LOOKS if look <= last]):
        for number, (_, best) in enumerate(chosen):
            if best == epoch:
                kept[number] = _plain(examples, predictions[number][test[number]])
        step()
    return [kept[number] for number in range(len(chosen))]


def _networks(examples: Examples, rows: Sequence[Rows], recipes: Sequence[Recipe], seed: int) -> Networks:
    batch = BATCHES[len(examples) >= LARGE]
    return Networks(
        examples.x, examples.y, len(examples.classes), rows, recipes, epochs=LOOKS[-1], batch=batch, seed=seed
    )


def _plain(examples: Examples, predictions: Floats) -> Floats:
    return predictions if examples.is_classes else predictions[:, 0]
