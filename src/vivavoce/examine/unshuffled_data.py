"""unshuffled-data: every epoch shows the examples in the same order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Severity
from vivavoce.examine.progress import BINARY, Progress
from vivavoce.examine.reading import at, where
from vivavoce.measure.folding import Fold, fold
from vivavoce.record.entities import Loader, Loss
from vivavoce.record.run import Run

CERTAIN = (
    4.0  # standard deviations of the folded loss: 1 false call in 30,000 (a fixed order passes it within few epochs)
)
PATTERN = 0.3  # fraction of the loss's variance that position explains: sorted data, not merely a fixed order
UNEVEN = (
    0.2  # of the classes in a batch, total variation from their overall shares less that of chance: sorted by class
)
FEWEST_SAMPLES = 5  # batches whose classes were counted
SMALL = 1e-12  # added before the logarithm of a loss


class UnshuffledData(Detector):
    """The loss repeats itself with the period of the epoch, or batches hold few classes each; the loader does not shuffle."""

    slug = "unshuffled-data"
    question = 8
    passing = True
    explains = (
        "oscillating-loss",
        "class-ignored",
        "overfitting",
        "guessing",
        "underfitting",
        "gradient-spikes",
        "dead-units",
    )

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A fixed order of well mixed data is a note; sorted data are a warning."""
        progress = Progress.of(run)
        loader = next((item for item in run.loaders.values() if item.role == "train"), None)
        if progress is None or progress.players > 1 or (loader is not None and loader.shuffle):
            return
        folded = _folded(run, loader)
        sorted_by_class = _unevenness(run, progress)
        patterned = folded is not None and folded.z > CERTAIN
        if sorted_by_class > UNEVEN:
            yield _finding(run, loader, folded if patterned else None, sorted_by_class, "warning")
        elif folded is not None and patterned and loader is not None:
            severe = folded.share > PATTERN and not (progress.learned and progress.remaining < PATTERN)
            yield _finding(run, loader, folded, sorted_by_class, "warning" if severe else "note")
        elif folded is not None:
            yield RuledOut(self.slug, f"the loss does not repeat itself with the epoch (z = {folded.z:.1f})")


def _folded(run: Run, loader: Loader | None) -> Fold | None:
    """The log loss folded by the position in the epoch, where the loader says how long that is."""
    series = run.train_loss
    if loader is None or not loader.batches or not len(series) or (series.counts != 1).any() or run.steps <= 0:
        return None
    calls = len(series) / run.steps
    if abs(calls - 1) > 0.01 or (series.mean < 0).any():  # one batch a step
        return None
    return fold(np.log(series.mean + SMALL), loader.batches)


def _unevenness(run: Run, progress: Progress) -> float:
    """How far the classes of single batches lie from their overall shares, beyond what sampling brings; 0 … 1."""
    if progress.loss is None:
        return 0.0
    if progress.function in BINARY:
        return _unevenness_of_two(run, progress.loss)
    rows = [
        track.mean[(track.counts == 1)]
        for track in run.tracks("target_classes")
        if track.owner == ("loss", progress.loss.id) and len(track.columns) > 1
    ]
    if len(rows) != 1 or len(rows[0]) < FEWEST_SAMPLES:
        return 0.0
    return unevenness(rows[0])


def _unevenness_of_two(run: Run, loss: Loss) -> float:
    """The same of labels that are 0 or 1, one an example, whose mean is recorded."""
    if not loss.target_shape or math.prod(loss.target_shape) != loss.target_shape[0]:
        return 0.0
    low, high, mean = (run.series("target", ("loss", loss.id), name).finite.mean for name in ("min", "max", "mean"))
    if len(mean) < FEWEST_SAMPLES or not set(np.unique(np.concatenate([low, high]))) <= {0.0, 1.0}:
        return 0.0
    return unevenness(loss.target_shape[0] * np.stack([mean, 1 - mean], axis=1))


def sorted_or_repeating(run: Run, progress: Progress) -> bool:
    """The order of the examples alone explains much of what the loss does."""
    loader = next((item for item in run.loaders.values() if item.role == "train"), None)
    if loader is not None and loader.shuffle:
        return False
    folded = _folded(run, loader)
    return _unevenness(run, progress) > UNEVEN or (folded is not None and folded.z > CERTAIN and folded.share > PATTERN)


def unevenness(counts: NDArray[np.float64]) -> float:
    """Total variation between the classes of each batch (n, k) and those of all, less its expectation for mixed batches."""
    sizes = counts.sum(axis=1)
    counts, sizes = counts[sizes > 1], sizes[sizes > 1]
    if not len(sizes):
        return 0.0
    shares = counts.sum(axis=0) / counts.sum()
    distance = 0.5 * np.abs(counts / sizes[:, None] - shares).sum(axis=1)
    expected = [0.5 * np.sum(np.sqrt(2 / math.pi * shares * (1 - shares) / size)) for size in sizes]
    return float(np.mean(distance) - np.mean(expected))


def _finding(run: Run, loader: Loader | None, folded: Fold | None, uneven: float, severity: Severity) -> Finding:
    place = at(loader.site if loader else None, "the place where batches are made")
    parts = []
    if folded is not None:
        parts.append(
            f"position in the epoch explains {folded.share:.0%} of the loss's variation over {folded.periods} epochs "
            f"(z = {folded.z:.1f}): they come in the same order"
        )
    if uneven > UNEVEN:
        parts.append("the batches hold few classes each: the examples are sorted by class")
    reason = "; ".join(parts)
    return Finding(
        slug=UnshuffledData.slug,
        severity=severity,
        confidence=0.85 if severity == "warning" else 0.8,
        question=UnshuffledData.question,
        title="The data come in the same or in a sorted order",
        why=f"{reason[0].upper()}{reason[1:]}.",
        where=where(loader.site if loader else None, first_step=1, last_step=run.steps),
        evidence=(
            *((Evidence("loss folded by position in the epoch", folded.z, "standard deviations", CERTAIN, "F-test"),) if folded else ()),
            Evidence("classes of a batch away from their shares", uneven, "total variation", UNEVEN, "beyond chance"),
        ),
        remedies=(Remedy("shuffle", "draw a new order each epoch", f"DataLoader(…, shuffle=True)  # at {place}"),),
    )  # fmt: skip
