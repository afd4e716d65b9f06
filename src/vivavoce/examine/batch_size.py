"""batch-too-small and batch-too-large: the noise of the gradient against its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import main_optimizer, where
from vivavoce.examine.stopped_too_early import last_fall
from vivavoce.examine.validation import validation_of
from vivavoce.measure.robust import median
from vivavoce.record.run import Run

FEWEST_SAMPLES = 4  # sampled steps
WASTED = 0.125  # noise scale over batch: "8 × too large" is credible, "2 ×" is not (McCandlish et al. 2018; own measurements)
DROWNED = 50.0  # noise scale over batch: the gradient of a batch is nearly all noise
FEW_STEPS = 300  # steps: an epoch with few updates is what makes a large batch expensive
FALLING = 0.05  # fraction of its level that the loss lost in the last third: more steps would have helped
CLEAN_FALL = -3.0  # Mann–Kendall statistic of the second half: with so little noise a falling loss falls cleanly
UNLEARNED = 0.35  # fraction of the reference loss that is left
NOISY = 0.5  # noise of the loss over its level


@dataclass(frozen=True)
class Noise:
    """`scale`: tr Σ/|G|² over the batch size; `samples`: sampled steps it comes from."""

    scale: float
    samples: int


class BatchTooLarge(Detector):
    """The noise is far below the gradient, the steps are few, and the loss was still falling when they ran out."""

    slug = "batch-too-large"
    question = 6
    passing = True
    explains = ("stopped-too-early", "underfitting")

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A full batch that gets where it should is no fault."""
        progress, noise = Progress.of(run), noise_of(run)
        if progress is None or noise is None or not progress.floor_known:
            return
        batch = _batch(run, progress)
        short = (
            run.steps < FEW_STEPS
            and last_fall(progress) > FALLING
            and progress.trend(0.5).z < CLEAN_FALL
            and progress.remaining > UNLEARNED
        )
        if noise.scale < WASTED and short and not _whole_data(run):
            yield _too_large(run, progress, noise, batch)
        elif noise.scale >= WASTED:
            yield RuledOut(self.slug, f"the gradient noise scale is {noise.scale:.2g} batches")


class BatchTooSmall(Detector):
    """The gradient is nearly all noise, the loss as well, and the network stands still."""

    slug = "batch-too-small"
    question = 6
    passing = True
    explains = ("oscillating-loss", "underfitting")

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A batch of one is fine where the learning rate fits it."""
        progress, noise = Progress.of(run), noise_of(run)
        if progress is None or noise is None or not progress.bounded:
            return
        batch = _batch(run, progress)
        rough = progress.noise > NOISY * abs(progress.end) and progress.remaining > UNLEARNED
        stands = progress.trend(0.5).z > -2.3 and progress.learned
        small = batch is not None and batch <= 8
        if noise.scale > DROWNED and rough and stands and small:
            yield _too_small(run, progress, noise, batch or 1)
        elif noise.scale <= DROWNED:
            yield RuledOut(self.slug, f"the gradient noise scale is {noise.scale:.2g} batches")


def noise_of(run: Run) -> Noise | None:
    """The noise scale over the batch size, from the product of gradient and momentum.

    E g·m = |G|² where both are independent draws about the same G, E g·g = |G|² + tr Σ/B. The weights move between the
    draws, which makes the product too small and the noise too large: small values can be trusted, large ones are upper bounds.
    """
    optimizer = main_optimizer(run)
    tracks = [t for t in run.tracks("gradient_lag") if optimizer is not None and t.owner == ("optimizer", optimizer.id)]
    if not tracks or len(tracks[-1]) < FEWEST_SAMPLES:
        return None
    product, square = tracks[-1].mean[:, 0], tracks[-1].mean[:, 1]
    keep = np.isfinite(product) & np.isfinite(square) & (square > 0)
    if keep.sum() < FEWEST_SAMPLES:
        return None
    share = median(product[keep] / square[keep])
    scale = (1 - share) / share if share > 0 else float("inf")
    return Noise(max(scale, 0.0), int(keep.sum()))


def _batch(run: Run, progress: Progress) -> int | None:
    shape = progress.loss.prediction_shape if progress.loss else ()
    return shape[0] if shape else None


def _whole_data(run: Run) -> bool:
    """The noise is nil because the batch is all the data there are: few examples, not a wasteful batch."""
    loader = next((item for item in run.loaders.values() if item.role == "train"), None)
    return loader is not None and loader.batches == 1 and (loader.dataset_size or 0) < 256


def _too_large(run: Run, progress: Progress, noise: Noise, batch: int | None) -> Finding:
    size = f" of {batch:,}" if batch else ""
    better = f"batch_size={max(1, round(batch * max(noise.scale, 1 / 64)))}" if batch else "a smaller batch"
    validation = validation_of(run, progress)
    both = (
        "both losses were"
        if validation is not None and validation.best >= len(validation.losses) - 2
        else "the loss was"
    )
    return Finding(
        slug=BatchTooLarge.slug,
        severity="warning",
        confidence=0.72,
        question=BatchTooLarge.question,
        title="The batch is too large: examples are wasted",
        why=(
            f"Successive gradients agree almost entirely: the noise scale is {noise.scale:.2g} × the batch{size}, so a fraction of it would "
            f"give the same direction. The run made only {run.steps:,} steps, and {both} still falling."
        ),
        where=where(progress.loss.site if progress.loss else None, first_step=1, last_step=progress.last_step),
        evidence=(Evidence("gradient noise scale / batch", noise.scale, "×", WASTED, "McCandlish et al. 2018"),),
        remedies=(
            Remedy("smaller-batch", "smaller batches, more steps for the same epochs", better),
            Remedy("longer-training", "or more epochs", f"{3 * run.steps:,} steps instead of {run.steps:,}"),
        ),
    )  # fmt: skip


def _too_small(run: Run, progress: Progress, noise: Noise, batch: int) -> Finding:
    return Finding(
        slug=BatchTooSmall.slug,
        severity="warning",
        confidence=0.65,
        question=BatchTooSmall.question,
        title="The batch is too small: the gradient is mostly noise",
        why=(
            f"Of a gradient from {batch} example{'s' if batch > 1 else ''} nearly all is noise (noise scale {noise.scale:,.0f} batches), the "
            f"loss varies by {progress.noise / abs(progress.end):.0%} from step to step, and it no longer falls."
        ),
        where=where(progress.loss.site if progress.loss else None, first_step=1, last_step=progress.last_step),
        evidence=(Evidence("gradient noise scale / batch", noise.scale, "×", DROWNED, "McCandlish et al. 2018"),),
        remedies=(
            Remedy("larger-batch", "a larger batch, or accumulation", f"batch_size={8 * batch}"),
            Remedy("lower-learning-rate", "or smaller steps, which average over more batches", "lr / 4"),
        ),
    )  # fmt: skip
