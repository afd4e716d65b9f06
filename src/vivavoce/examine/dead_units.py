"""dead-units: units of a rectifying activation that are zero for every example."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.gradient_spikes import spike_before
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import where
from vivavoce.examine.underfitting import limit_of
from vivavoce.examine.units import Share, shares
from vivavoce.record.run import Run

MANY = 0.7  # fraction of a layer's units (AUTOTRAINER and DeepDiagnosis: 70 %)
ALL = 0.99  # fraction: nothing passes such a layer, neither forward nor backward


class DeadUnits(Detector):
    """Most units of a layer are dead, it lasts, and the network does not learn."""

    slug = "dead-units"
    question = 5
    explains = ("guessing", "vanishing-gradients", "underfitting", "learning-rate-too-low",
                "class-ignored", "label-noise", "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Sparse activations of a network that learns are healthy: harm decides."""
        found = shares(run, "activation_dead")
        progress = Progress.of(run)
        if not found or progress is None:
            return
        worst = max(found, key=lambda share: share.late)
        if worst.late < MANY:
            yield RuledOut(self.slug, f"at most {worst.late:.0%} of a layer's units are dead ({worst.module.name})")
        elif limit_of(run):
            yield RuledOut(self.slug, limit_of(run))
        elif progress.learned or not progress.had_room:
            yield RuledOut(
                self.slug, f"{worst.late:.0%} of {worst.module.name} rest, yet the loss fell to {progress.end:.3g}"
            )
        elif worst.first < MANY and (spike := spike_before(run, worst.step)) is not None:
            yield RuledOut(
                self.slug,
                f"{worst.late:.0%} of {worst.module.name} died after a spike of the gradient at step {spike:,}",
            )
        elif progress.bounded or worst.late >= ALL:
            yield _finding(run, worst, [share for share in found if share.late >= MANY])


def _finding(run: Run, worst: Share, dead: list[Share]) -> Finding:
    begun = "from the first step on" if worst.first >= MANY else f"since step {worst.step:,}"
    others = f", and in {len(dead) - 1} more layers" if len(dead) > 1 else ""
    why = (
        f"{worst.late:.0%} of the units of {worst.module.name} are zero for every example {begun}{others}: "
        f"no gradient passes them, so nothing can revive them, and the loss does not fall."
    )
    return Finding(
        slug=DeadUnits.slug,
        severity="critical",
        confidence=0.93 if worst.late >= ALL else 0.8,
        question=DeadUnits.question,
        title="Units never activate",
        why=why,
        where=where(worst.module.site, layer=worst.module.name, first_step=worst.step, last_step=run.steps),
        evidence=(
            Evidence(
                f"dead units of {worst.module.name}", worst.late, "fraction", MANY, "AUTOTRAINER, DeepDiagnosis: 70 %"
            ),
        ),
        remedies=(
            Remedy(
                "leaky-relu", "an activation with a slope below zero", "nn.LeakyReLU(0.01) or nn.GELU() for nn.ReLU()"
            ),
            Remedy(
                "he-initialisation",
                "start with weights of the right size and biases of zero",
                "nn.init.kaiming_normal_(layer.weight); nn.init.zeros_(layer.bias)",
            ),
            Remedy("lower-learning-rate", "lower the learning rate: one large step can kill a layer", "lr / 10"),
        ),
    )
