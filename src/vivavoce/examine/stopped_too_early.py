"""stopped-too-early: the training ended while the loss was still falling fast."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import finished, last_phase, where
from vivavoce.examine.validation import Validation, validation_of
from vivavoce.record.run import Run

FEWEST_ROWS = 10  # recorded losses
LEFT = 0.28  # fraction of the start or of chance level: below it most is learned, and every run ends a little early
STILL_FALLING = 0.1  # fraction of the level lost in the last third
FALLING_Z = -2.3  # Mann–Kendall statistic, one-sided 1 %
SHORT_ROWS, SHORT_FALLING_Z = 60, -3.3  # rows of a run that is judged as a whole; one-sided 0.05 %
FEW_STEPS, FEW_EPOCHS = (
    150,
    3.0,
)  # development programs: stopped early 12 … 107 steps, healthy and still falling 220 and more
STEEP = 0.12  # of the start or of chance level, lost in the last third
LEFT_OF_FEW = 0.1  # fraction of the loss, where the run was short and falls steeply
AT_BEST = 1.25  # times the best level: above it the loss comes back from somewhere, a second task for instance
HARDLY_ANY = 40  # steps: development programs that are healthy take 150 and more, stories and examples 60
FEW = 75  # steps, where nearly nothing was learned
UNLEARNED = 0.6  # fraction of the start or of chance level; of a run that is not short, less may be left of a healthy one (0.44)
DONE = 0.15  # fraction of the start or of chance level
FINE_TUNING = 100  # steps of a second phase
WELL_ENOUGH = 0.9  # validation accuracy


class StoppedTooEarly(Detector):
    """Much of the loss is left, and its last third fell by a tenth or more; the validation loss, where seen, agrees."""

    slug = "stopped-too-early"
    question = 9
    explains = ()

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A run that goes on has not stopped."""
        progress = Progress.of(run)
        taken = run.steps - last_phase(run)
        brief = taken < HARDLY_ANY or (taken < FEW and progress is not None and progress.remaining > UNLEARNED)
        if finished(run) and taken > 0 and brief and not _closures(run) and not _well_done(run, progress):
            yield _hardly_any(run, progress, taken)
            return
        if progress is None or not progress.floor_known or progress.rows < FEWEST_ROWS or not finished(run):
            return
        if (begun := last_phase(run)) and run.steps - begun >= FINE_TUNING:
            yield RuledOut(
                self.slug, f"a second phase of {run.steps - begun:,} steps: fine-tuning ends where its author wants"
            )
            return
        validation = validation_of(run, progress)
        fall, few, steep = last_fall(progress), _few(run, progress), last_share(progress) > STEEP
        if not progress.remaining >= (LEFT_OF_FEW if few and steep else LEFT) or not progress.had_room:
            yield RuledOut(self.slug, f"{progress.remaining:.0%} of the loss is left")
        elif fall < STILL_FALLING or not _falls(progress):
            yield RuledOut(self.slug, "the loss had stopped falling")
        elif progress.end > AT_BEST * (before := _best_before(progress)):
            yield RuledOut(self.slug, f"the loss had been lower before ({before:.3g})")
        elif validation is None or _agrees(validation):
            found = _finding(progress, fall, validation)
            early = few or (steep and progress.remaining > UNLEARNED)
            yield found if early else found.with_(severity="note")


def _closures(run: Run) -> bool:
    """Each step calls the model many times by itself, as LBFGS does: few of them are many updates."""
    return any(optimizer.closure for optimizer in run.optimizers.values())


def _well_done(run: Run, progress: Progress | None) -> bool:
    """The loss is next to its floor, or the accuracy on validation data is good."""
    if progress is None:
        return False
    validation = validation_of(run, progress, 1)
    good = validation is not None and validation.accuracy[-1] >= WELL_ENOUGH
    return bool(good) or (progress.floor_known and progress.remaining < DONE)


def last_fall(progress: Progress) -> float:
    """The fraction of its level that the loss lost over the last third of the run."""
    span = (progress.steps[-1] - progress.steps[0]) / 3
    level = abs(progress.end)
    return -progress.trend(1 / 3).slope * span / level if level > 0 else 0.0


def last_share(progress: Progress) -> float:
    """What the loss lost over the last third of the run, as a fraction of the start or of chance level."""
    third = len(progress.levels) // 3
    return (
        float(progress.levels[-1 - third] - progress.levels[-1]) / abs(progress.reference)
        if progress.reference
        else 0.0
    )


def _best_before(progress: Progress) -> float:
    """The lowest level before the last third."""
    return float(progress.levels[: -max(1, len(progress.levels) // 3)].min())


def _falls(progress: Progress) -> bool:
    """The fall is no chance: over the second half, or over the whole of a run so short that its half says little."""
    short = progress.rows < SHORT_ROWS and progress.trend().z < SHORT_FALLING_Z
    return short or progress.trend(0.5).z <= FALLING_Z


def _few(run: Run, progress: Progress) -> bool:
    """Few steps, or few passes over the data: long trainings end while something still falls, and nobody calls that early."""
    loader = next((item for item in run.loaders.values() if item.role == "train" and item.batches), None)
    epochs = run.steps / loader.batches if loader is not None and loader.batches else math.inf
    return progress.length < FEW_STEPS or epochs <= FEW_EPOCHS


def _agrees(validation: Validation) -> bool:
    good = validation.accuracy[-1] >= WELL_ENOUGH
    return validation.best >= len(validation.losses) - 2 and not good


def _hardly_any(run: Run, progress: Progress | None, taken: int) -> Finding:
    course = f" {progress.sentence}" if progress is not None else ""
    loss = run.main_loss
    return Finding(
        slug=StoppedTooEarly.slug,
        severity="warning",
        confidence=0.7,
        question=StoppedTooEarly.question,
        title="The training ended after hardly any steps",
        why=f"The training ended after {taken:,} steps of the optimizer: no network is trained by so few.{course}",
        where=where(loss.site if loss else None, first_step=run.steps - taken + 1, last_step=run.steps),
        evidence=(Evidence("steps of the optimizer", float(taken), "steps", float(HARDLY_ANY if taken < HARDLY_ANY else FEW), "development programs need hundreds"),),
        remedies=(
            Remedy("longer-training", "train longer", f"{10 * taken:,} steps instead of {taken:,}"),
            Remedy("smaller-batch", "or make more steps of the same data", "a batch a tenth as large"),
        ),
    )  # fmt: skip


def _finding(progress: Progress, fall: float, validation: Validation | None) -> Finding:
    both = "training and validation loss were" if validation else "the training loss was"
    steps = progress.length
    why = (
        f"When the training ended after {steps:,} steps {both} still falling, by {fall:.0%} in the last third, "
        f"and {progress.remaining:.0%} of it is left ({progress.end:.3g} of {progress.reference:.3g})."
    )
    return Finding(
        slug=StoppedTooEarly.slug,
        severity="warning",
        confidence=0.8 if validation else 0.7,
        question=StoppedTooEarly.question,
        title="The training stopped while it was still improving",
        why=why,
        where=where(
            progress.loss.site if progress.loss else None,
            first_step=int(progress.steps[-1] * 2 / 3),
            last_step=progress.last_step,
        ),
        evidence=(
            Evidence(
                "fall over the last third", fall, "fraction of the level", STILL_FALLING, "ten per cent of what is left"
            ),
            Evidence("loss left", progress.remaining, "fraction", LEFT, "of the start or of chance level"),
        ),
        remedies=(Remedy("longer-training", "train longer", f"{3 * steps:,} steps instead of {steps:,}"),),
    )
