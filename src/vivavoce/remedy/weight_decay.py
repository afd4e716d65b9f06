"""weight-decay: L2 regularisation, through the optimizer."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.optimizer_number import Choice, OptimizerNumber
from vivavoce.remedy.optimizers import optimizers_of, rounded

VALUES = (1e-2, 1e-3)  # in use: 1e-5 … 1e-2 with SGD and Adam
DECOUPLED = (0.3, 0.05)  # AdamW scales the decay by the learning rate


class WeightDecay(OptimizerNumber):
    """More weight decay than the run had."""

    name = "weight-decay"
    treats = ("exploding-gradients", "gradient-spikes", "overfitting", "stopped-too-late")
    rank = 80

    def values(self, run: Run, finding: Finding) -> Iterator[Choice]:
        """Two strengths, for optimizers that know weight decay."""
        for optimizer in optimizers_of(run, finding)[:1]:
            known = [group["weight_decay"] for group in optimizer.groups if "weight_decay" in group]
            for value in DECOUPLED if optimizer.class_name == "AdamW" else VALUES:
                if known and value > max(float(k) for k in known):
                    yield [(optimizer, {"weight_decay": rounded(value)})], f"a weight decay of {value:g} (L2)"
