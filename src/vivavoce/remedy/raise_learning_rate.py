"""raise-learning-rate: a rate at which a step changes the weights by a usual share."""

from __future__ import annotations

from vivavoce.remedy.learning_rates import AnotherLearningRate


class RaiseLearningRate(AnotherLearningRate):
    """A few rates above the recorded one."""

    name = "raise-learning-rate"
    treats = (
        "mode-collapse",
        "discriminator-dominates",
        "generator-dominates",
        "always-clipped",
        "learning-rate-too-low",
        "underfitting",
        "guessing",
        "stopped-too-early",
    )
    rank = 21
    higher = True
    verb = "raise"
