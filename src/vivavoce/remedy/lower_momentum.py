"""lower-momentum: the momentum in common use, where the run had far more."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.optimizer_number import Choice, OptimizerNumber
from vivavoce.remedy.optimizers import momentum_of, optimizers_of

USUAL = 0.9
MUCH = 0.95  # a gradient acts for 1/(1 - m) = 20 steps


class LowerMomentum(OptimizerNumber):
    """Momentum 0.9."""

    name = "lower-momentum"
    treats = ("exploding-gradients", "gradient-spikes", "learning-rate-too-high", "oscillating-loss")
    rank = 10

    def values(self, run: Run, finding: Finding) -> Iterator[Choice]:
        """Where there is more than that of it."""
        for optimizer in optimizers_of(run, finding):
            if momentum_of(optimizer) > MUCH:
                yield [(optimizer, {"momentum": USUAL})], f"lower the momentum of {optimizer.class_name} to {USUAL:g}"
