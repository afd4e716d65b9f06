"""learning-rate-too-low: the network could learn, but hardly moves."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import (
    Weights,
    column_median,
    finished,
    learning_rate,
    stepped_optimizers,
    weights_of,
    where,
    with_rate,
)
from vivavoce.examine.sensitivity import first_update
from vivavoce.measure.robust import median
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run

SMALL = 1e-4  # ‖Δw‖/‖w‖ of the median weight (TheDeepChecker: below 1e-4)
USUAL = 1e-3  # ‖Δw‖/‖w‖ aimed at by the remedy (Karpathy's rule of thumb; healthy networks measured: 2e-4 … 2e-2)
SLOW = 5e-4  # ‖Δw‖/‖w‖: half of the usual, enough where nothing but time is missing
GONE = 0.01  # fraction of the highest learning rate
EARLY = 0.25  # fraction of the run
HALFWAY = 0.5  # fraction of the run by which much of the loss must be left
MUCH_LEFT = 0.3  # fraction of the reference loss
FEWEST_SAMPLES = 8  # sampled steps
EARLY_SAMPLES = 3  # of them, the first ones
FADED = 3.0  # times `SMALL`
SHRUNK = 0.1  # times the first updates
NEXT_TO_NOTHING = 0.02  # fraction of the reference loss: below it the task is done
STANDSTILL = 0.005  # ‖Δw‖/‖w‖ of all steps together, at most: nothing has changed, whatever the loss says
NO_MOVE = 0.002  # the same of every weight, even where the loss fell
FELL = 0.85  # times the loss at the start
HARDLY_MOVED = 0.02  # the same, where the loss has a floor and is no better than at the start
ABOVE_CHANCE, NEAR_CHANCE = 1.02, 1.5  # fractions of chance level: not come down to yet, and where networks begin
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
        stood_still = progress is not None and _stood_still(weights, progress)
        early = _decayed(run, optimizer) or _faded(run, weights)
        if early and progress is not None and progress.bounded and _wasted(run, progress, early):
            yield _decayed_finding(run, optimizer, early, progress)
        elif progress is not None and 0 < update < SLOW and finished(run) and _on_its_way(progress):
            yield _finding(run, optimizer, update, progress)
        elif update >= SMALL:
            yield RuledOut(self.slug, f"update ratio {update:.1e}")
        elif progress is not None and progress.learned and not progress.remaining >= LEFT and not stood_still:
            yield RuledOut(self.slug, f"the loss fell from {progress.start:.3g} to {progress.end:.3g}")
        elif (
            progress is not None
            and update > 0
            and _representative(run, optimizer, weights)
            and (stood_still or _slow(progress, update))
        ):
            yield _finding(run, optimizer, update, progress)


def _on_its_way(progress: Progress) -> bool:
    """A classification that began a little above chance level, fell all the time, and has not even come down to it."""
    chance = progress.chance
    if chance is None or not progress.guessable or progress.length < FEWEST_STEPS:
        return False
    lowest = float(progress.levels.min())
    return ABOVE_CHANCE * chance < lowest and progress.start < NEAR_CHANCE * chance and progress.falling


def _decayed(run: Run, optimizer: Optimizer) -> int:
    """The step at which the learning rate had fallen below `GONE` of its highest, where that was early; else 0."""
    rates = run.series("learning_rate", ("optimizer", optimizer.id)).finite
    if len(rates) < FEWEST_STEPS:
        return 0
    top = int(np.argmax(rates.mean))
    low = np.flatnonzero(rates.mean[top:] < GONE * rates.mean[top])
    step = (
        int(rates.steps[top + low[0]])
        if len(low) and (rates.mean[top + low[0] :] < GONE * rates.mean[top]).all()
        else 0
    )
    return step if step < HALFWAY * run.steps else 0


def _faded(run: Run, weights: Weights | None) -> int:
    """The same of the step that a gradient of one brings about, for optimizers that shrink it by themselves."""
    if weights is None:
        return 0
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = column_median((weights.update * weights.weight / weights.gradient).T)
    known = np.isfinite(reach)
    steps, reach, update = weights.steps[known], reach[known], weights.typical_update[known]
    if len(reach) < FEWEST_SAMPLES:
        return 0
    low = (reach < GONE * reach[:EARLY_SAMPLES].max()) & (update < SMALL * FADED)
    low &= update < SHRUNK * update[:EARLY_SAMPLES].max()  # else it is the gradient that has grown
    faded = np.flatnonzero(~low)[-1] + 1 if not low.all() else 0
    return int(steps[faded]) if faded < len(steps) and steps[faded] < HALFWAY * run.steps else 0


def _wasted(run: Run, progress: Progress, step: int) -> bool:
    """The loss has not fallen by a tenth since, and there is much of it left, or at least something where most of the run followed."""
    later = progress.levels[progress.steps > step]
    left = NEXT_TO_NOTHING if step < EARLY * run.steps else MUCH_LEFT
    flat = len(later) > 2 and float(later[-3:].mean()) > 0.9 * float(later[:3].mean())
    return flat and progress.remaining > left


def _decayed_finding(run: Run, optimizer: Optimizer, step: int, progress: Progress) -> Finding:
    return Finding(
        slug=LearningRateTooLow.slug,
        severity="warning",
        confidence=0.75,
        question=LearningRateTooLow.question,
        title="The learning rate is too low",
        why=(
            f"By step {step:,} of {run.steps:,} the schedule, or the optimizer itself, had brought the step size below {GONE:.0%} of its "
            f"highest, and the loss has stood at {progress.end:.3g} since: the rest of the run had no steps to speak of."
        ),
        where=where(optimizer.site, first_step=step, last_step=progress.last_step),
        evidence=(Evidence("learning rate below a hundredth since", step / run.steps, "fraction of the run", EARLY, "a quarter"),),
        remedies=(
            Remedy("slower-schedule", "let the learning rate fall over the whole run", "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)"),
            Remedy("schedule-per-epoch", "step the scheduler once an epoch, not once a batch", "scheduler.step()  # after the loop over batches"),
        ),
    )  # fmt: skip


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


def _stood_still(weights: Weights | None, progress: Progress) -> bool:
    """No weight has changed to speak of: what the loss lost, the data did, as where a policy makes its own."""
    if weights is None or progress.players > 1 or len(weights.steps) < FEWEST_SAMPLES:
        return False
    if not progress.had_room or not progress.end < FELL * progress.start:
        return False  # a network that was good at the start, and is kept
    fastest = np.nanmax(column_median(weights.update), initial=0.0)
    return bool(fastest * progress.length < NO_MOVE)


def _slow(progress: Progress, update: float) -> bool:
    """A loss with a floor at zero, far from it, that would need several more runs to halve and is not getting worse."""
    if not progress.bounded:
        return progress.players == 1 and update * progress.length < STANDSTILL
    if update * progress.length < HARDLY_MOVED and not progress.learned and progress.had_room:
        return True  # whatever the loss did, so small steps did not do it
    if progress.rose or not progress.had_room or not progress.remaining >= LEFT:
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
