"""saturated-units: tanh or sigmoid units at their ends, where their gradient is nearly zero."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.gradient_spikes import spike_before
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import where
from vivavoce.examine.units import Share, shares
from vivavoce.record.run import Run

MANY = 0.8  # fraction of a module's outputs; published rules call 0.5 (TheDeepChecker, DeepDiagnosis) without asking for harm
LEFT_FROM_START = 0.05  # fraction of the reference loss: units that began saturated, and stayed so, teach the layers before them nothing


class SaturatedUnits(Detector):
    """Most outputs of a module are saturated, it lasts, and the network has not converged."""

    slug = "saturated-units"
    question = 5
    explains = ("guessing", "vanishing-gradients", "underfitting", "learning-rate-too-low", "class-ignored",
                "label-noise", "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Saturation that the training brought about while it learned is a result, not a fault."""
        found = shares(run, "activation_saturated")
        progress = Progress.of(run)
        if not found or progress is None:
            return
        worst = max(found, key=lambda share: share.late)
        if worst.late < MANY:
            yield RuledOut(
                self.slug, f"at most {worst.late:.0%} of a module's outputs are saturated ({worst.module.name})"
            )
        elif not progress.bounded or not progress.had_room:
            return
        elif worst.initial < MANY and (spike := spike_before(run, worst.step)) is not None:
            yield RuledOut(self.slug, f"{worst.module.name} saturated after a spike of the gradient at step {spike:,}")
        elif not progress.learned:
            yield _finding(run, worst, progress, True)
        elif worst.initial >= MANY and progress.remaining > LEFT_FROM_START and not _is_output(run, worst):
            yield _finding(run, worst, progress, False)
        else:
            yield RuledOut(self.slug, f"{worst.module.name} saturated while the loss fell to {progress.end:.3g}")


def _is_output(run: Run, share: Share) -> bool:
    return share.module.id == max(run.modules)


def _finding(run: Run, worst: Share, progress: Progress, stuck: bool) -> Finding:
    begun = "from the first step on" if worst.initial >= MANY else f"since step {worst.step:,}"
    course = "the loss does not fall" if stuck else f"the loss is still {progress.remaining:.0%} of where it began"
    return Finding(
        slug=SaturatedUnits.slug,
        severity="critical" if stuck else "warning",
        confidence=0.8 if stuck else 0.75,
        question=SaturatedUnits.question,
        title="Units are saturated: their gradient is nearly zero",
        why=(
            f"{worst.late:.0%} of the outputs of {worst.module.name} ({worst.module.class_name}) lie at the ends of its range "
            f"{begun}, where its derivative is below 2 % of its largest, and {course}."
        ),
        where=where(worst.module.site, layer=worst.module.name, first_step=worst.step, last_step=run.steps),
        evidence=(
            Evidence(
                f"saturated outputs of {worst.module.name}",
                worst.late,
                "fraction",
                MANY,
                "published rules: 0.5; raised because harm must show too",
            ),
        ),
        remedies=(
            Remedy("xavier-initialisation", "smaller initial weights", "nn.init.xavier_uniform_(layer.weight)"),
            Remedy("normalise-input", "inputs of mean 0 and deviation 1", "x = (x - x.mean(0)) / x.std(0)"),
            Remedy("relu", "an activation that does not saturate", f"nn.ReLU() for {worst.module.class_name}"),
        ),
    )
