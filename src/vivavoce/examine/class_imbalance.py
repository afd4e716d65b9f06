"""class-imbalance: some classes are so rare that the loss gains nothing by predicting them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vivavoce.examine.class_ignored import counted, late_counts
from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import some, where
from vivavoce.record.run import Run

RATIO = 10.0  # commonest over rarest class (SageMaker Debugger: 10)
SEEN = 20  # targets of the rare class in the batches looked at
HARDLY_SEEN, OF_MANY = 4, 1000  # of so many targets in all, where the class was never predicted at all
MISSED = 0.25  # predictions of it over targets of it: below, the network passes it over
MOST_CLASSES = 30  # with more, as in the characters or words of a text, rare ones are the nature of the task
DOMINANT = 0.4  # fraction of the targets that the commonest class must hold: less is a long tail, not an imbalance
HARDLY_ANY = 8  # examples of a class in the training data: what is learned of so few is those examples, not the class
FAR_FEWER = 30.0  # times, than of the commonest class
_BALANCE = (
    Remedy("class-weights", "weigh the classes by the inverse of their frequency",
           "F.cross_entropy(logits, target, weight=counts.sum() / (len(counts) * counts))  # pos_weight for binary"),
    Remedy("balanced-sampler", "draw rare classes more often", "WeightedRandomSampler(1 / counts[target], len(target))"),
)  # fmt: skip


class ClassImbalance(Detector):
    """A class at least ten times rarer than the commonest is predicted far less often than it occurs, or has hardly an example."""

    slug = "class-imbalance"
    question = 7
    passing = True
    explains = ("class-ignored",)

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Rare classes that are predicted as often as they occur are no fault, unless they can only be learned by heart."""
        progress = Progress.of(run)
        counts = late_counts(run, progress) if progress is not None else None
        if progress is None or counts is None or len(counts[0]) > MOST_CLASSES:
            return
        few = _hardly_any(run, progress)
        if few is not None:
            yield _finding_few(progress, *few)
            return
        names, targets, predictions = counts
        never = (targets >= HARDLY_SEEN) & (predictions == 0) & (targets.sum() >= OF_MANY)
        seen = (targets >= SEEN) | never
        if seen.sum() < 2:
            return
        ratio = float(targets.max() / targets[seen].min())
        rare = seen & (targets * RATIO <= targets.max()) & (predictions < MISSED * targets)
        if rare.any() and targets.max() >= DOMINANT * targets.sum():
            missed = [names[i] for i in rare.nonzero()[0]]
            yield _finding(progress, missed, ratio, float(targets[rare].sum()), float(predictions[rare].sum()))
        else:
            yield RuledOut(self.slug, f"the commonest class is {ratio:.1f} × as frequent as the rarest seen")


def _hardly_any(run: Run, progress: Progress) -> tuple[str, float, int, float] | None:
    """The rarest class, about how many examples of it and how many in all there are, and the commonest over it; if so few.

    An example of the data has one target, so the class's share of those counted is its share of the data. As many have to be
    counted as the data have examples.
    """
    site = progress.loss
    counts = counted(run, site) if site is not None else None
    loader = next((item for item in run.loaders.values() if item.role == "train" and item.dataset_size), None)
    if site is None or counts is None or loader is None or math.prod(site.target_shape) != sum(site.target_shape[:1]):
        return None
    names, targets, _ = counts
    size, total = loader.dataset_size or 0, float(targets.sum())
    there = np.flatnonzero(targets > 0)
    if total < size or len(there) < 2 or targets.max() < DOMINANT * total:
        return None
    rarest = there[np.argmin(targets[there])]
    examples = float(targets[rarest]) / total * size
    ratio = float(targets.max() / targets[rarest])
    return (names[rarest], examples, size, ratio) if examples < HARDLY_ANY and ratio >= FAR_FEWER else None


def _finding_few(progress: Progress, name: str, examples: float, size: int, ratio: float) -> Finding:
    return Finding(
        slug=ClassImbalance.slug,
        severity="warning",
        confidence=0.75,
        question=ClassImbalance.question,
        title="A class has hardly any examples",
        why=(
            f"Of {size:,} training examples about {max(1, round(examples))} are of class {name}, {ratio:,.0f} × fewer than of the commonest. "
            "A network learns so few by heart, and nothing of the class: other examples of it will be taken for another class."
        ),
        where=where(progress.loss.site if progress.loss else None, first_step=1, last_step=progress.last_step),
        evidence=(
            Evidence("examples of the rarest class, about", examples, "examples", float(HARDLY_ANY), "too few to generalise from"),
            Evidence("commonest over rarest class", ratio, "×", FAR_FEWER),
        ),
        remedies=(
            Remedy("more-data", "collect or make more examples of the class", "augmentation, or another source"),
            *_BALANCE,
        ),
    )  # fmt: skip


def _finding(progress: Progress, missed: list[str], ratio: float, targets: float, predictions: float) -> Finding:
    return Finding(
        slug=ClassImbalance.slug,
        severity="warning",
        confidence=0.8,
        question=ClassImbalance.question,
        title="Some classes are much rarer than others",
        why=(
            f"The commonest class is {ratio:,.0f} × as frequent as class {some(missed)}, which the network predicted {predictions:,.0f} "
            f"times in the second half of the run although it was the target {targets:,.0f} times: a good score hides it."
        ),
        where=where(progress.loss.site if progress.loss else None, first_step=1, last_step=progress.last_step),
        evidence=(
            Evidence("commonest over rarest class", ratio, "×", RATIO, "SageMaker Debugger: 10"),
            Evidence("predictions of rare classes over their targets", predictions / targets, "fraction", MISSED, "a quarter"),
        ),
        remedies=_BALANCE,
    )  # fmt: skip
