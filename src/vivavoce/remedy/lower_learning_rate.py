"""lower-learning-rate: a rate at which a step changes the weights by a usual share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy.optimizer_number import OptimizerNumber
from vivavoce.remedy.optimizers import better_rates, optimizers_of


class LowerLearningRate(OptimizerNumber):
    """Three rates below the recorded one, from the size of the run's own first step."""

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

    def values(self, run: Run, finding: Finding) -> Iterator[tuple[Optimizer, dict[str, Any], str]]:
        """The optimizer of the finding; where there are several, the others as well, one value each."""
        for index, optimizer in enumerate(optimizers_of(run, finding)):
            rates = better_rates(run, optimizer, higher=False)
            for rate in rates if index == 0 else rates[:1]:
                yield optimizer, {"lr": rate}, f"lower the learning rate of {optimizer.class_name} to {rate:g}"
