"""guessing: the loss stays where a constant prediction would be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import CLASSIFICATION, SIGNIFICANT, Progress
from vivavoce.examine.reading import at, finished, where
from vivavoce.measure.robust import median
from vivavoce.record.run import Run

FEWEST_STEPS = 50  # steps at chance level before anything is said
BELOW = 0.95  # fraction of chance level: a network that learned anything lies below it in its last half
LANDED = 0.99  # fraction of chance level: a loss that came down to it from above and ended there has learned nothing
HARDLY_ABOVE = 1.05  # fraction of chance level, of such a loss in the second half of the run
ABOVE = 1.25  # fraction of chance level: far above it the network is not guessing, it is confidently wrong
FALLING_Z = -2.6  # Mann–Kendall statistic of the second half, one-sided 0.5 %
LUCK = 4.0  # standard errors that the accuracy may lie above the commonest class's share


class Guessing(Detector):
    """The loss of the second half of the run is that of the best constant prediction."""

    slug = "guessing"
    question = 1
    passing = True
    explains = ("beaten-by-baseline",)

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Compare the loss with chance level; the accuracy must agree where it was recorded."""
        progress = Progress.of(run)
        if progress is None or progress.chance is None or progress.rows < FEWEST_STEPS:
            return
        if not progress.guessable:
            return  # a regression that stays at the variance of its targets is underfitting
        half = _second_half(progress)
        if half / progress.chance < BELOW:
            yield RuledOut(self.slug, f"the loss {progress.end:.3g} lies below the chance level {progress.chance:.3g}")
        elif at_chance(run, progress):
            yield _finding(run, progress, half)


def at_chance(run: Run, progress: Progress) -> bool:
    """The loss of a classification stays at chance level, and its accuracy, where known, is no better than luck."""
    if progress.chance is None or progress.rows < FEWEST_STEPS or not progress.guessable:
        return False
    half = _second_half(progress)
    landed = finished(run) and 1 <= half / progress.chance < HARDLY_ABOVE and progress.end > LANDED * progress.chance
    falling = not landed and (
        progress.levels[-1] < half - SIGNIFICANT * progress.error or progress.trend(0.5).z < FALLING_Z
    )
    near = BELOW <= half / progress.chance <= ABOVE
    return near and not falling and not _better_than_luck(run, progress)


def _second_half(progress: Progress) -> float:
    return median(progress.levels[len(progress.levels) // 2 :])


def _better_than_luck(run: Run, progress: Progress) -> bool:
    """The training accuracy lies above the commonest class's share by more than luck."""
    site = progress.loss
    if site is None:
        return False
    accuracy = run.series("train/accuracy", ("loss", site.id)).finite
    late = accuracy.mean[accuracy.steps > run.steps // 2]
    share, examples = _commonest(run, site.id)
    if not len(late) or not math.isfinite(share):
        return False
    error = math.sqrt(max(share * (1 - share), 1e-4) / max(1.0, examples * len(late)))
    return float(np.mean(late)) > share + max(LUCK * error, 0.05)


def _commonest(run: Run, loss: int) -> tuple[float, float]:
    """Share of the commonest class, and examples a batch."""
    for track in run.tracks("target_classes"):
        if track.owner == ("loss", loss) and len(track):
            total = np.nansum(track.mean * track.counts[:, None], axis=0)
            if total.sum() > 0:
                return float(total.max() / total.sum()), float(np.median(np.nansum(track.mean, axis=1)))
    return float("nan"), float("nan")


def _finding(run: Run, progress: Progress, half: float) -> Finding:
    site, chance = progress.loss, progress.chance or float("nan")
    classes = site.classes if site else None
    level = f"ln {classes} = {math.log(classes):.3f}" if classes and classes > 1 else "that of a constant prediction"
    same = abs(math.log(classes) - chance) < 0.02 * chance if classes and classes > 1 else True
    frequencies = "" if same else f", {chance:.3f} for the frequencies of its classes"
    subject = f"among {classes} classes" if classes and progress.function in CLASSIFICATION else "a constant"
    return Finding(
        slug=Guessing.slug,
        severity="critical",
        confidence=0.8,
        question=Guessing.question,
        title="The network does no better than guessing",
        why=(
            f"The loss stays at {half:.3f}, the level of a network that guesses {subject} ({level}{frequencies}): "
            f"over {progress.length:,} steps it learned nothing from its input."
        ),
        where=where(
            site.site if site else None,
            first_step=int(progress.steps[len(progress.steps) // 2]),
            last_step=progress.last_step,
        ),
        evidence=(
            Evidence(
                "loss, second half of the run",
                half,
                "nats" if classes else "",
                chance,
                "entropy of the targets; variance for squared error",
            ),
            Evidence("loss / chance level", half / chance, "", BELOW, "a network that learned anything lies below"),
        ),
        remedies=(
            Remedy(
                "overfit-one-batch",
                "check that the network can learn one batch by heart",
                f"batch = next(iter(loader)), then train on it alone at {at(site.site if site else None)}",
            ),
            Remedy(
                "check-labels",
                "check that inputs and labels still belong together after loading and shuffling",
                "print(x[:4], y[:4])",
            ),
        ),
    )
