"""class-ignored: a class that stands in the targets is never predicted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import longest, some, where
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

SEEN = 50  # targets of a class in the looked-at batches: fewer may be luck
MOST_CLASSES = 200  # of more classes, many are rare and rarely the most probable: a language model ignores most tokens
SHARE = 0.005  # fraction of all targets: a rarer class is hardly worth predicting
TOKEN_SHARE = 1.0  # times an equal share of all: a language model rightly never thinks a rarer token the most probable


class ClassIgnored(Detector):
    """In the second half of a run that learned, a class with enough targets was never predicted."""

    slug = "class-ignored"
    question = 7
    passing = True

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A run that learned nothing predicts one class: that is guessing, not this. In a game one player may well be always right."""
        progress = Progress.of(run)
        if progress is None or progress.loss is None or not progress.learned or progress.players > 1:
            return
        counts = late_counts(run, progress)
        if counts is None or len(counts[0]) > MOST_CLASSES:
            return
        names, targets, predictions = counts
        share = TOKEN_SHARE / len(names) if _tokens(run, progress) else SHARE
        enough = (targets >= SEEN) & (targets >= share * targets.sum())
        ignored = np.flatnonzero(enough & (predictions == 0))
        if len(ignored):
            yield _finding(run, progress, [names[i] for i in ignored], targets, ignored)
        elif enough.any():
            yield RuledOut(self.slug, f"all {int(enough.sum())} classes seen are predicted")


def _tokens(run: Run, progress: Progress) -> bool:
    """What is predicted are the tokens that the network reads: an embedding has a row for each class."""
    classes = progress.loss.classes if progress.loss else None
    return any(p.module_class == "Embedding" and p.shape[0] == classes for p in run.parameters.values())


Counts = tuple[list[str], NDArray[np.float64], NDArray[np.float64]]


def counted(run: Run, loss: Loss, since: int = 0) -> Counts | None:
    """Classes, and how often each was target and prediction in the batches looked at after step `since`."""
    owner = ("loss", loss.id)
    target, predicted = (
        longest([track for track in run.tracks(name) if track.owner == owner])
        for name in ("target_classes", "predicted_classes")
    )
    if target is None or predicted is None or target.columns != predicted.columns:
        return None
    return [str(label) for label in target.columns], _sums(target, since), _sums(predicted, since)


def late_counts(run: Run, progress: Progress) -> Counts | None:
    """The counts of the second half of the run."""
    return None if progress.loss is None else counted(run, progress.loss, since=run.steps // 2)


def _sums(track: Track, since: int) -> NDArray[np.float64]:
    """The counts of the samples after step `since`; zero where it was not sampled."""
    late = track.steps > since
    return np.asarray(np.nansum(track.mean[late] * track.counts[late, None], axis=0))


def _finding(
    run: Run, progress: Progress, names: list[str], targets: NDArray[np.float64], ignored: NDArray[np.int64]
) -> Finding:
    share = float(targets[ignored].sum() / targets.sum())
    return Finding(
        slug=ClassIgnored.slug,
        severity="warning",
        confidence=0.85,
        question=ClassIgnored.question,
        title="A class is never predicted",
        why=f"In the second half of the run class {some(names)} was never predicted, although {share:.1%} of the targets are of it.",
        where=where(
            progress.loss.site if progress.loss else None,
            first_step=progress.last_step // 2,
            last_step=progress.last_step,
        ),
        evidence=(
            Evidence(
                "targets of ignored classes", float(targets[ignored].sum()), "targets", float(SEEN), "fewer may be luck"
            ),
            Evidence("predictions of them", 0.0, "predictions"),
        ),
        remedies=(
            Remedy(
                "class-weights",
                "weigh the classes by the inverse of their frequency",
                "F.cross_entropy(logits, target, weight=counts.sum() / (len(counts) * counts))",
            ),
        ),
    )
