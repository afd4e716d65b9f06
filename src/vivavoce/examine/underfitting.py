"""underfitting: the training loss itself stays high and flat although the network moves as it should."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import WORSE_THAN_CHANCE, Progress
from vivavoce.examine.reading import learning_rate, main_optimizer, weights_of, where
from vivavoce.examine.units import shares
from vivavoce.measure.robust import median
from vivavoce.record.run import Run

FEWEST_STEPS = 100  # steps: earlier, a flat loss may be the plateau before the fall
LEFT = 0.5  # fraction of chance level: below it the data may simply hold no more
LIMITED = 0.25  # the same where the set-up holds the network back
POOR = 0.95  # fraction of chance level: above it hardly anything was learned
FLAT = 0.03  # fraction of the level that a third of the run may still bring
FALLING_Z = -2.3  # Mann–Kendall statistic, one-sided 1 %: such a loss is slow, not flat
MOVING = 1e-4  # ‖Δw‖/‖w‖: below it the learning rate is the question, not the capacity (TheDeepChecker)
DECAY = 0.05  # weight_decay; in use: 1e-5 … 1e-2 with SGD and Adam.
DECOUPLED = ("AdamW",)  # w shrinks by ηλw a step, which Adam's largest step, η, makes up for where |w| = 1/λ
DECOUPLED_DECAY = 2.0  # weight_decay that keeps every weight below 0.5; in use: 0.01 … 0.5
SETTLED = 3.0  # learning rate × decay × steps: e⁻³ is left of what the weights were
DROPPED = 0.8  # fraction of zeros behind a dropout layer


class Underfitting(Detector):
    """A flat, high training loss with a cause in the set-up: regularisation, dropout, or too few parameters."""

    slug = "underfitting"
    question = 9
    passing = True
    explains = ("guessing", "class-ignored", "beaten-by-baseline")

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Noise in the data looks the same from outside: without a limit in sight it is at most a note."""
        progress = Progress.of(run)
        if progress is None or not progress.bounded or run.steps < FEWEST_STEPS:
            return
        limit = limit_of(run)
        if progress.chance is None and (not limit or progress.learned):
            return  # what the loss could be is not known
        level = progress.chance or progress.reference
        if not level > 0:
            return
        left = progress.end / level
        if left < (LIMITED if limit else LEFT):
            yield RuledOut(self.slug, f"the training loss fell to {left:.0%} of chance level")
        elif not is_flat(progress) or not _moving(run):
            return
        elif limit:
            yield _finding(progress, left, limit, 0.8)
        elif left > WORSE_THAN_CHANCE or progress.rose:
            return
        elif progress.regression and left > POOR:
            yield _finding(progress, left, "it predicts little more than the mean", 0.7)
        else:
            yield _finding(progress, left, "", 0.4)


def is_flat(progress: Progress) -> bool:
    """No significant fall in the second half, or one too small to speak of."""
    trend = progress.trend(0.5)
    fall = -trend.slope * (progress.steps[-1] - progress.steps[0]) / 3
    return trend.z > FALLING_Z or (math.isfinite(fall) and fall < FLAT * progress.end)


def _moving(run: Run) -> bool:
    optimizer = main_optimizer(run)
    weights = weights_of(run, optimizer) if optimizer else None
    return weights is None or median(weights.typical_update) > MOVING


def limit_of(run: Run) -> str:
    """What in the set-up keeps the loss up, in words; "" where nothing is seen."""
    optimizer = main_optimizer(run)
    if optimizer is not None:
        decay = max((float(group.get("weight_decay") or 0) for group in optimizer.groups), default=0.0)
        rates = run.series("learning_rate", ("optimizer", optimizer.id)).finite.mean
        rate = float(rates.mean()) if len(rates) else learning_rate(optimizer) or 0.0
        shrunk = rate * decay * run.steps >= SETTLED
        if optimizer.class_name in DECOUPLED and decay >= DECOUPLED_DECAY and shrunk:
            return f"a weight decay of {decay:g} pulls the weights to zero: each of them stays below {1 / decay:.2g}"
        if optimizer.class_name not in DECOUPLED and decay >= DECAY:
            return f"a weight decay of {decay:g} pulls the weights to zero"
    zeros = shares(run, "activation_zero")
    before = [s for s in zeros if "Dropout" not in s.module.class_name and s.initial >= DROPPED]
    for share in zeros:
        if "Dropout" in share.module.class_name and share.initial >= DROPPED and not before:
            return f"{share.module.name} drops {share.initial:.0%} of its inputs"
    return ""


def _finding(progress: Progress, left: float, limit: str, confidence: float) -> Finding:
    cause = f": {limit}" if limit else "; either the network is too small, or the data hold no more than that"
    return Finding(
        slug=Underfitting.slug,
        severity="warning" if limit else "note",
        confidence=confidence,
        question=Underfitting.question,
        title="The network fits not even the training data",
        why=(
            f"The training loss is flat at {progress.end:.3g}, {left:.0%} of what "
            f"{'a constant prediction gives' if progress.chance else 'it began with'} ({progress.chance or progress.reference:.3g}){cause}."
        ),
        where=where(progress.loss.site if progress.loss else None, first_step=1, last_step=progress.last_step),
        evidence=(
            Evidence("training loss / chance level", left, "fraction", LEFT, "below it the data may hold no more"),
        ),
        remedies=(
            Remedy("less-regularisation", "regularise less", "weight_decay=1e-4, nn.Dropout(0.1)"),
            Remedy("larger-network", "more units or layers", "double the width of the hidden layers"),
            Remedy(
                "longer-training",
                "train longer, with a larger learning rate at first",
                "three times the steps, learning rate × 3",
            ),
        ),
    )
