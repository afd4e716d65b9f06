"""raise-learning-rate: a rate at which a step changes the weights by a usual share."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.optimizer_number import Choice, OptimizerNumber, rates_by_hand
from vivavoce.remedy.optimizers import better_rates, joined, optimizers_of
from vivavoce.remedy.remedy import Prescription


class RaiseLearningRate(OptimizerNumber):
    """A few rates above the recorded one, from the size of the run's own first step."""

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

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For an optimizer, or for updates by hand."""
        yield from super().prescribe(run, finding)
        yield from rates_by_hand(self, run, finding, higher=True)

    def values(self, run: Run, finding: Finding) -> Iterator[Choice]:
        """All optimizers together where there are several, each to its likeliest rate; then the finding's own."""
        optimizers = optimizers_of(run, finding)
        rates = [(optimizer, rates) for optimizer in optimizers if (rates := better_rates(run, optimizer, higher=True))]
        if len(rates) > 1:
            title = "raise every learning rate: " + joined(f"{o.class_name} to {r[0]:g}" for o, r in rates)
            yield [(optimizer, {"lr": values[0]}) for optimizer, values in rates], title
        for index, (optimizer, values) in enumerate(rates):
            for rate in values if index == 0 else values[:1]:
                yield [(optimizer, {"lr": rate})], f"raise the learning rate of {optimizer.class_name} to {rate:g}"
