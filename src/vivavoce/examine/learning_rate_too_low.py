"""learning-rate-too-low: the network could learn, but hardly moves."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import Weights, learning_rate, stepped_optimizers, weights_of, where, with_rate
from vivavoce.examine.sensitivity import first_update
from vivavoce.measure.robust import median
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run

SMALL = 1e-4  # ‖Δw‖/‖w‖ of the median weight (TheDeepChecker: below 1e-4)
USUAL = 1e-3  # ‖Δw‖/‖w‖ aimed at by the remedy (Karpathy's rule of thumb; healthy networks measured: 2e-4 … 2e-2)
FEWEST_STEPS = 50  # steps: a warm-up or a look at the first steps is no evidence
LEFT = 0.7  # fraction of the reference loss: below it the run learned, whatever the size of its steps
LENGTHS = 3.0  # run lengths that the present pace needs to halve the loss: below it, the run was merely stopped early


class LearningRateTooLow(Detector):
    """Tiny updates, and a loss that has hardly moved although there was something to learn."""

    slug = "learning-rate-too-low"
    question = 6
    explains = ("guessing", "underfitting", "stopped-too-early", "class-ignored", "label-noise",
                "capacity-too-small", "batch-too-large")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Small updates and little progress together; fine-tuning that learns and converged runs lack the second."""
        progress = Progress.of(run)
        updates = {}
        for candidate in stepped_optimizers(run):
            sampled = weights_of(run, candidate)
            typical = median(sampled.typical_update) if sampled else first_update(run, candidate, highest_rate=True)
            if math.isfinite(typical):
                updates[candidate.id] = typical
        if not updates:
            return
        optimizer = run.optimizers[max(updates, key=lambda id: updates[id])]
        weights, update = weights_of(run, optimizer), updates[optimizer.id]
        if update >= SMALL:
            yield RuledOut(self.slug, f"update ratio {update:.1e}")
        elif progress is not None and progress.learned and not progress.remaining >= LEFT:
            yield RuledOut(self.slug, f"the loss fell from {progress.start:.3g} to {progress.end:.3g}")
        elif progress is not None and update > 0 and _representative(run, optimizer, weights) and _slow(progress):
            yield _finding(run, optimizer, update, progress)


def _representative(run: Run, optimizer: Optimizer, weights: Weights | None) -> bool:
    """The samples speak for the run: it was long enough, and its later half was sampled, or its rate never grew enough to matter."""
    if run.steps < FEWEST_STEPS:
        return False
    if weights is None:
        return True  # reckoned with the highest rate
    rates = run.series("learning_rate", ("optimizer", optimizer.id)).finite
    if weights.steps[-1] > run.steps // 2 or len(rates) <= 1:
        return True
    sampled = rates.mean[rates.steps <= weights.steps[-1]]
    later = (
        float(rates.maximum.max()) / float(np.median(sampled)) if len(sampled) and np.median(sampled) > 0 else math.inf
    )
    return median(weights.typical_update) * later < SMALL


def _slow(progress: Progress) -> bool:
    """A loss with a floor at zero, far from it, that would need several more runs to halve and is not getting worse."""
    if not progress.bounded or progress.rose or not progress.had_room or not progress.remaining >= LEFT:
        return False
    return lengths_to_halve(progress) > LENGTHS


def lengths_to_halve(progress: Progress) -> float:
    """Run lengths that halving the loss takes at the pace of the second half; infinite where it does not fall."""
    slope = progress.trend(0.5).slope
    length = progress.length
    return 0.5 * progress.end / (-slope * length) if slope < 0 else math.inf


def _finding(run: Run, optimizer: Optimizer, update: float, progress: Progress) -> Finding:
    rate = learning_rate(optimizer)
    better = rate * USUAL / update if rate else None
    lengths = lengths_to_halve(progress)
    pace = (
        f"at this pace halving it takes {lengths:,.0f} such runs"
        if math.isfinite(lengths)
        else "it does not measurably fall"
    )
    why = (
        f"A step changes the weights by {update:.0e} of their size (usual: 1e-3), and the loss went from "
        f"{progress.start:.3g} to {progress.end:.3g} in {progress.length:,} steps: {pace}."
    )
    edit = with_rate(optimizer, better) if better else "raise the learning rate"
    return Finding(
        slug=LearningRateTooLow.slug,
        severity="critical" if not progress.learned else "warning",
        confidence=0.9 if update < SMALL / 10 else 0.75,
        question=LearningRateTooLow.question,
        title="The learning rate is too low",
        why=why,
        where=where(optimizer.site, first_step=1, last_step=progress.last_step),
        evidence=(
            Evidence("update ratio ‖Δw‖/‖w‖, median weight", update, "", SMALL, "TheDeepChecker (log10 < −4)"),
            Evidence("loss left", progress.remaining, "fraction", LEFT, "of the start or of chance level"),
        ),
        remedies=(Remedy("raise-learning-rate", "raise the learning rate", edit),),
    )
