"""unfreeze: let parameters that were frozen by mistake receive gradients."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.optimizers import optimizers_of, place
from vivavoce.remedy.remedy import Prescription
from vivavoce.remedy.snippet import Snippet


class Unfreeze(Snippet):
    """`requires_grad_(True)` for the model that the optimizer trains."""

    name = "unfreeze"
    treats = ("parameters-not-optimized", "no-gradient", "underfitting", "guessing")
    rank = 3

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where a parameter of the optimizer's is frozen, or was when it was made."""
        if any(not parameter.trainable for parameter in run.parameters.values()):
            for optimizer in optimizers_of(run, finding)[:1]:
                where = place(optimizer.site, optimizer=optimizer.class_name)
                yield Prescription(self.name, finding.slug, "let every parameter receive gradients", {}, where)

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """One line a model."""
        return [f"{model}.requires_grad_(True)" for model in models]
