"""gradient-spikes: single steps with gradients far out of the ordinary, after which the loss is worse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import Norms, at, main_optimizer, unclipped_norms, where
from vivavoce.measure.robust import weighted_quantile
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run

SPIKE = 20.0  # times the running median; ZClip's z > 2.5 and SPAM's g²/v > 5,000 (a factor of 70) lie on either side
WINDOW = 50  # rows of the running median
WARM_UP = 20  # rows: the start is out of the ordinary anyway
HURT = 3.0  # standard deviations that the loss level after a spike must exceed the one before
ROWS = 5  # of the loss on either side of a spike
WORSE = 1.25  # times the best level: a run that ends below it has got over its spikes
DONE = 0.02  # fraction of the start or of chance level: what happens to a loss that small is of no consequence
GENTLE_QUANTILE = 0.95  # of the run's own norms: the threshold that the remedy names


class GradientSpikes(Detector):
    """Spikes of the norm that raised the loss. Spikes that the training shrugs off are no fault."""

    slug = "gradient-spikes"
    question = 5
    passing = True
    explains = ("oscillating-loss", "guessing", "vanishing-gradients", "underfitting", "learning-rate-too-low",
                "class-ignored", "label-noise", "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Clipped spikes do no harm; the loss decides."""
        found = _spikes_of(run)
        if found is None:
            return
        harmful = found.harmful
        if len(harmful):
            yield _finding(found.optimizer, found.progress, found.steps[harmful], found.factors[harmful], found.norms)
        elif len(found.norms.steps) > WARM_UP:
            yield RuledOut(self.slug, f"{len(found.steps)} steps had more than {SPIKE:g} × the median norm")


def spike_before(run: Run, step: int) -> int | None:
    """The first spike that did harm, where it came no later than a step; None where there is none."""
    found = _spikes_of(run)
    first = int(found.steps[found.harmful[0]]) if found is not None and found.harmful else None
    return first if first is not None and first <= step else None


@dataclass(frozen=True)
class _Spikes:
    """Steps (n,) of the spikes of a run, by what factors (n,) they stand out, and the places of those that did harm."""

    optimizer: Optimizer
    progress: Progress
    norms: Norms
    steps: NDArray[np.int64]
    factors: NDArray[np.float64]
    harmful: list[int]


def _spikes_of(run: Run) -> _Spikes | None:
    """None where spikes say nothing, or did not reach the weights."""
    optimizer, progress = main_optimizer(run), Progress.of(run)
    if optimizer is None or progress is None or progress.players > 1 or progress.as_variance:
        return None
    norms = unclipped_norms(run, optimizer)
    if not len(norms.steps) or _cut(run, norms):
        return None
    steps, factors = spikes(norms)
    return _Spikes(optimizer, progress, norms, steps, factors, _harmful(run, progress, steps))


def _cut(run: Run, norms: Norms) -> bool:
    """Gradients are clipped, at a threshold that a spike would meet."""
    usual = float(np.median(norms.typical))
    return any(clip.function != "clip_grad_norm_" or clip.threshold < SPIKE * usual for clip in run.clips.values())


def _harmful(run: Run, progress: Progress, steps: NDArray[np.int64]) -> list[int]:
    """Which of the spikes raised the loss, in a run that ends well above its best."""
    if not progress.bounded or progress.end <= WORSE * progress.best or progress.remaining < DONE:
        return []
    return [i for i, step in enumerate(steps) if _hurt(run, int(step), progress)]


def spikes(norms: Norms) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps whose norm exceeds `SPIKE` times the median of the rows before, and by what factor."""
    steps, factors = [], []
    typical = norms.typical
    for i in range(WARM_UP, len(typical)):
        level = float(np.median(typical[max(0, i - WINDOW) : i]))
        if level > 0 and np.isfinite(norms.peak[i]) and norms.peak[i] > SPIKE * level:
            steps.append(int(norms.steps[i]))
            factors.append(float(norms.peak[i]) / level)
    return np.array(steps, dtype=np.int64), np.array(factors)


def _hurt(run: Run, step: int, progress: Progress) -> bool:
    loss = run.train_loss.finite
    before, after = loss.mean[loss.steps < step][-ROWS:], loss.mean[loss.steps > step][:ROWS]
    if len(before) < ROWS or len(after) < ROWS:
        return False
    return float(np.median(after) - np.median(before)) > HURT * max(progress.noise, 1e-12)


def _finding(
    optimizer: Optimizer, progress: Progress, steps: NDArray[np.int64], factors: NDArray[np.float64], norms: Norms
) -> Finding:
    threshold = weighted_quantile(norms.typical, np.ones(len(norms.steps), np.int64), GENTLE_QUANTILE)
    return Finding(
        slug=GradientSpikes.slug,
        severity="warning",
        confidence=0.75,
        question=GradientSpikes.question,
        title="Single steps have gradients far out of the ordinary",
        why=(
            f"At {len(steps)} steps, first at {steps[0]:,}, the gradient was up to {factors.max():,.0f} × its usual norm, and the loss was "
            f"higher after them; it ended at {progress.end:.3g} after a best of {progress.best:.3g}."
        ),
        where=where(optimizer.step_site, first_step=int(steps[0]), last_step=int(steps[-1])),
        evidence=(
            Evidence("largest spike", float(factors.max()), "× the median", SPIKE, "ZClip: z > 2.5; SPAM: × 70"),
        ),
        remedies=(
            Remedy(
                "clip-norm",
                "clip the gradient's norm",
                f"torch.nn.utils.clip_grad_norm_(model.parameters(), {threshold:.2g})  # before {at(optimizer.step_site)}",
            ),
        ),
    )
