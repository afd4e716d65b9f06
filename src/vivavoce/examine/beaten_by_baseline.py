"""beaten-by-baseline: on the validation data a constant does at least as well as the network, in every pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import where
from vivavoce.examine.validation import Validation, validation_of
from vivavoce.measure.robust import median
from vivavoce.measure.trend import robust_trend
from vivavoce.record.run import Run

FEWEST_PASSES = 3  # validation passes
FEWEST_STEPS = 100  # training steps before the last of them
BETTER = 0.02  # fraction of the constant's loss: a network that was ever so much better is not beaten by it
SIGNIFICANT = 3.0  # standard errors, over the batches of a pass, by which it may seem better and is not
FALLING_Z = -2.3  # Mann–Kendall statistic, one-sided 1 %: such a validation loss may still get there
DECIDES = 0.02  # of accuracy above the commonest class's share: its decisions are worth something


class BeatenByBaseline(Detector):
    """The lowest validation loss is no lower than that of the constant that is best on the same examples."""

    slug = "beaten-by-baseline"
    question = 1
    passing = True

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Needs validation passes of a plain cross-entropy or squared error, whose targets were seen as a whole."""
        progress = Progress.of(run)
        validation = validation_of(run, progress, FEWEST_PASSES) if progress else None
        if progress is None or validation is None or progress.players > 1 or validation.steps[-1] < FEWEST_STEPS:
            return
        owner = ("loss", validation.site.id)
        constant, difference, error, share = (
            run.series("val/constant", owner, name).mean for name in ("loss", "difference", "error", "share")
        )
        if len(difference) < FEWEST_PASSES:
            return
        best, level = int(np.argmin(difference)), median(constant)
        doubt = max(_finite(error[best]), validation.noise)
        ahead = -float(difference[best])
        if ahead > max(BETTER * level, SIGNIFICANT * doubt):
            yield RuledOut(self.slug, f"the validation loss was {ahead:.3g} below that of a constant, {level:.3g}")
        elif _decides(validation, median(share)):
            yield RuledOut(self.slug, "its decisions are better than naming the commonest class")
        elif ahead <= BETTER * level and not _falling(validation):  # what lies between is undecided
            yield _finding(progress, validation, level, float(difference[best]), doubt)


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def _decides(validation: Validation, share: float) -> bool:
    accuracy = median(validation.accuracy[-validation.end_passes :])
    return bool(np.isfinite(accuracy) and np.isfinite(share) and accuracy > share + DECIDES)


def _falling(validation: Validation) -> bool:
    half = validation.losses[len(validation.losses) // 2 :]
    return robust_trend(np.arange(len(half), dtype=np.float64), half).z < FALLING_Z


def _finding(progress: Progress, validation: Validation, level: float, behind: float, doubt: float) -> Finding:
    learned = f" The training loss fell to {progress.end:.3g}." if progress.learned else ""
    return Finding(
        slug=BeatenByBaseline.slug,
        severity="warning",
        confidence=0.8 if behind > 0 else 0.6,
        question=BeatenByBaseline.question,
        title="A constant does at least as well",
        why=(
            f"On the validation data the network's best loss was {level + behind:.3g}; always predicting the same loses "
            f"{level:.3g} (difference {behind:+.2g} ± {1.96 * doubt:.1g}).{learned}"
        ),
        where=where(validation.site.site, first_step=int(validation.steps[0]), last_step=progress.last_step),
        evidence=(
            Evidence(
                "best validation loss − that of a constant",
                behind,
                "",
                -BETTER * level,
                "a constant that is best on the same examples",
            ),
        ),
        remedies=(
            Remedy(
                "baselines",
                "ask what the task needs",
                "viva lab baselines table.csv --target …  # a rule, linear models, trees and a network on the same folds",
            ),
            Remedy(
                "check-inputs",
                "check that inputs and targets belong together in the validation data",
                "# same order, same preprocessing, same encoding of the labels as in training",
            ),
        ),
    )
