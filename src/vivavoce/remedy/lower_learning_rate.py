"""lower-learning-rate: a rate at which a step changes the weights by a usual share."""

from __future__ import annotations

from vivavoce.remedy.learning_rates import AnotherLearningRate


class LowerLearningRate(AnotherLearningRate):
    """A few rates below the recorded one."""

    name = "lower-learning-rate"
    treats = (
        "mode-collapse",
        "discriminator-dominates",
        "generator-dominates",
        "exploding-gradients",
        "gradient-spikes",
        "non-finite",
        "saturated-units",
        "dead-units",
        "learning-rate-too-high",
        "batch-too-small",
        "oscillating-loss",
    )
    rank = 20
    higher = False
    verb = "lower"
