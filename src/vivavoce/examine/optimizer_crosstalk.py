"""optimizer-crosstalk: two optimizers with losses of their own move the same network."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import at, scalars, stepped_optimizers, where
from vivavoce.record.entities import Optimizer, Parameter
from vivavoce.record.run import Run

RIVALS = 2  # optimizers that take turns: with more, shared parameters are often meant (adversarial autoencoders)


class OptimizerCrosstalk(Detector):
    """In a training of two parties, one party's optimizer holds parameters of the other."""

    slug = "optimizer-crosstalk"
    question = 3
    explains = ("mode-collapse", "discriminator-dominates", "generator-dominates", "oscillating-loss", "gradients-not-zeroed",
                "learning-rate-too-low", "learning-rate-too-high", "no-gradient", "parameters-not-optimized", "class-ignored")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Compare what the two optimizers hold."""
        optimizers = stepped_optimizers(run)
        progress = Progress.of(run)
        if len(optimizers) != RIVALS or progress is None or progress.players < RIVALS:
            return
        ids = {optimizer.id for optimizer in optimizers}
        shared = [p for p in run.parameters.values() if ids <= set(p.optimizers)]
        if shared:
            yield _finding(run, optimizers, shared)
        else:
            yield RuledOut(self.slug, "no parameter is held by both optimizers")


def _guest(run: Run, optimizers: list[Optimizer], shared: list[Parameter]) -> Optimizer:
    """The optimizer for which the shared parameters are a smaller part: they belong to the other; else the later one."""
    own = {
        optimizer.id: sum(optimizer.id in parameter.optimizers for parameter in run.parameters.values())
        for optimizer in optimizers
    }
    return max(optimizers, key=lambda optimizer: (own[optimizer.id], optimizer.id))


def _finding(run: Run, optimizers: list[Optimizer], shared: list[Parameter]) -> Finding:
    guest = _guest(run, optimizers, shared)
    names = sorted({run.models[p.model].name for p in shared if p.model in run.models})
    moved = " and ".join(names) or "the other network"
    return Finding(
        slug=OptimizerCrosstalk.slug,
        severity="critical",
        confidence=0.93,
        question=OptimizerCrosstalk.question,
        title="One network's optimizer moves the other network",
        why=(
            f"Both optimizers hold {len(shared)} parameters of {moved} ({scalars(shared):,} scalars): the one made at {at(guest.site)} "
            f"moves them for its own loss, against the loss that they are trained for."
        ),
        where=where(guest.site, parameter=shared[0].name, first_step=1, last_step=run.steps),
        evidence=(Evidence("parameters held by both optimizers", float(len(shared)), "count", 0.0, "none should be"),),
        remedies=(
            Remedy(
                "own-parameters",
                "give each optimizer the parameters of its own network",
                f"{guest.class_name}(generator.parameters(), …)  # at {at(guest.site)}",
            ),
            Remedy(
                "detach",
                "cut what the generator made off from it in the discriminator's own update",
                "discriminator(fake.detach())",
            ),
        ),
    )
