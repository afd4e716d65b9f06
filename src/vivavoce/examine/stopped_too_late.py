"""stopped-too-late: most of the run came after the best validation loss and changed nothing for the better."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import finished, where
from vivavoce.examine.validation import validation_of
from vivavoce.record.run import Run

IN_VAIN = 0.6  # fraction of the run that came after the best validation loss
FEWEST_PASSES = 10  # validation passes
GAIN = 0.01  # fraction of its level that the validation loss must still gain to make going on worth it


class StoppedTooLate(Detector):
    """The level of the validation loss was reached early, and the rest of the run was spent in vain. A note: it cost only time."""

    slug = "stopped-too-late"
    question = 9

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A validation loss that rose again is overfitting."""
        progress = Progress.of(run)
        validation = validation_of(run, progress) if progress else None
        if progress is None or validation is None or progress.players > 1 or not finished(run):
            return
        if len(validation.losses) < FEWEST_PASSES or run.steps <= 0:
            return
        reached = validation.lowest + max(GAIN * abs(validation.lowest), validation.noise)
        first = int(validation.steps[int((validation.losses <= reached).argmax())])
        wasted = 1 - first / run.steps
        if wasted < IN_VAIN or not progress.learned:
            yield RuledOut(self.slug, f"the validation loss still improved after {first / run.steps:.0%} of the run")
        else:
            yield _finding(progress, first, wasted, validation.lowest)


def _finding(progress: Progress, first: int, wasted: float, level: float) -> Finding:
    return Finding(
        slug=StoppedTooLate.slug,
        severity="note",
        confidence=0.7,
        question=StoppedTooLate.question,
        title="The training went on after its best point",
        why=(
            f"The validation loss had reached {level:.3g} at step {first:,}; the remaining {wasted:.0%} of the run "
            f"brought less than {GAIN:.0%}."
        ),
        where=where(progress.loss.site if progress.loss else None, first_step=first, last_step=progress.last_step),
        evidence=(
            Evidence(
                "run after the best validation loss", wasted, "fraction", IN_VAIN, "a patience of most of the run"
            ),
        ),
        remedies=(Remedy("early-stopping", "stop when the validation loss no longer falls", f"# near step {first:,}"),),
    )
