"""overfitting: the training loss goes on falling while the validation loss rises from its best."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import BINARY, CLASSIFICATION, Progress
from vivavoce.examine.reading import at, main_optimizer, where
from vivavoce.examine.validation import Validation, validation_of
from vivavoce.measure.robust import median
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

RISE = 0.2  # fraction of the best validation loss; SageMaker Debugger calls 0.1, which healthy runs on few data reach
RISE_OF_START = (
    0.03  # fraction of the first validation loss, and of chance level: 0.10 to 0.12 is no rise to speak of after 2.3
)
SIGNIFICANT = 3.0  # standard errors of the difference, from the passes' own noise
HEART_TRAIN = 0.1  # fraction of chance level: the training data are learned by heart …
HEART_VALIDATION = 0.6  # … while the validation loss is still this near chance level
FAR_BELOW = 0.02  # of the validation loss: the training loss is next to nothing …
HIGH_VALIDATION = 0.25  # … and of chance level: the validation loss is not
BELOW, LASTING_VALIDATION = 0.5, 0.4  # the same where the validation loss has long stopped falling …
STALLED_AFTER = 0.4  # … after this fraction of the run
SURE, UNSURE = 0.9, 0.12  # probability in training, and by how much less when evaluated, that is no longer chance
LAST_ANSWERS, FEWEST_ANSWERS = 5, 30  # samples that count, and examples in those of evaluation
FEWEST_PASSES = 1  # validation passes: what was learned by heart shows in one
RISING_PASSES = 3  # passes before a rise is believed
CONFIDENCE_ONLY = 0.01  # accuracy that the decisions may have lost since the best loss, and still count as no worse


class Overfitting(Detector):
    """The validation loss rose from its best by more than its noise, while the training loss fell."""

    slug = "overfitting"
    question = 9
    passing = True
    explains = ("stopped-too-late", "beaten-by-baseline")

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Needs validation passes with the same loss function as the training, or a classification that is evaluated at all."""
        progress = Progress.of(run)
        validation = validation_of(run, progress, FEWEST_PASSES) if progress else None
        if progress is None or progress.players > 1:
            return
        if validation is None:
            sure = _sureness(run, progress)
            if sure is not None and sure[0] - sure[1] > UNSURE:
                yield _by_sureness(run, progress, *sure)
            elif sure is not None:
                yield RuledOut(
                    self.slug, f"evaluated, the network is {sure[1]:.0%} sure, and {sure[0]:.0%} in training"
                )
            return
        rise = validation.end - validation.lowest
        if (_rose(validation, progress) and _training_fell(run, progress, validation)) or _by_heart(
            progress, validation
        ):
            yield _finding(run, progress, validation, rise)
        else:
            gap = f"validation {validation.end:.3g}, its best {validation.lowest:.3g}"
            yield RuledOut(self.slug, gap)


def _sureness(run: Run, progress: Progress) -> tuple[float, float] | None:
    """How sure the network is of its answers at the end, in training and when evaluated; None where it is not sure in training."""
    if progress.function not in CLASSIFICATION | BINARY or progress.players > 1:
        return None
    evaluated = {track.owner: track for track in run.tracks("val/sureness")}
    for track in run.tracks("sureness"):
        if track.owner in evaluated:
            trained, answers = _last(run, track), _last(run, evaluated[track.owner])
            if len(trained) and median(trained[:, 0]) >= SURE and answers[:, 1].sum() >= FEWEST_ANSWERS:
                return median(trained[:, 0]), float(np.average(answers[:, 0], weights=answers[:, 1]))
    return None


def _last(run: Run, track: Track) -> NDArray[np.float64]:
    """The last rows of a track that are finite, (n, columns), of the second half of the run."""
    rows = track.mean[track.steps > run.steps // 2]
    return np.asarray(rows[np.isfinite(rows).all(1)][-LAST_ANSWERS:])


def _by_sureness(run: Run, progress: Progress, trained: float, evaluated: float) -> Finding:
    why = (
        f"In training the network is {trained:.0%} sure of its answers (the loss is {progress.end:.2g}); when evaluated it is only "
        f"{evaluated:.0%} sure: it meets there what it has not learned."
    )
    return Finding(
        slug=Overfitting.slug,
        severity="warning",
        confidence=0.8,
        question=Overfitting.question,
        title="The network learns the training data by heart",
        why=why,
        where=where(progress.loss.site if progress.loss else None, first_step=1, last_step=progress.last_step),
        evidence=(
            Evidence(
                "mean probability, training − evaluation",
                trained - evaluated,
                "",
                UNSURE,
                "the difference foretells the loss of accuracy (Guillory et al. 2021); healthy networks measured: 0.07 at most",
            ),
        ),
        remedies=_remedies(run, None),
    )


def _rose(validation: Validation, progress: Progress) -> bool:
    if len(validation.losses) < RISING_PASSES:
        return False
    rise = validation.end - validation.lowest
    level = max(abs(float(validation.losses[0])), progress.chance if progress.chance and validation.comparable else 0.0)
    enough = max(RISE * abs(validation.lowest), RISE_OF_START * level)
    lasting = validation.best <= len(validation.losses) - 1 - validation.end_passes
    return lasting and rise > enough and rise > SIGNIFICANT * validation.rise_error


def _training_fell(run: Run, progress: Progress, validation: Validation) -> bool:
    """The training loss is now lower than around the best validation pass, and lower than the validation loss."""
    after = progress.steps >= validation.steps[validation.best]
    if not after.any():
        return False
    then = float(progress.levels[np.flatnonzero(after)[0]])
    apart = not validation.comparable or progress.end < validation.end
    return apart and progress.end < then - progress.error


def _by_heart(progress: Progress, validation: Validation) -> bool:
    """Nothing of the training loss is left, most of the validation loss is."""
    chance = progress.chance if validation.comparable and progress.bounded else None
    if chance is None:
        return False
    apart = progress.end < FAR_BELOW * validation.end and validation.end > HIGH_VALIDATION * chance
    if len(validation.losses) >= RISING_PASSES and _stalled(validation):
        apart = apart or (progress.end < BELOW * validation.end and validation.end > LASTING_VALIDATION * chance)
    return (progress.end < HEART_TRAIN * chance and validation.end > HEART_VALIDATION * chance) or apart


def _stalled(validation: Validation) -> bool:
    """The validation loss gained nothing to speak of after the first part of the run."""
    early = validation.losses[validation.steps <= STALLED_AFTER * validation.steps[-1]]
    return len(early) > 0 and bool(validation.end > (1 - RISE_OF_START) * early.min())


def _finding(run: Run, progress: Progress, validation: Validation, rise: float) -> Finding:
    best_step, lowest, end = int(validation.steps[validation.best]), validation.lowest, validation.end
    margin = 1.96 * validation.rise_error
    decisions = _decisions(validation)
    why = (
        f"Since step {best_step:,} the validation loss went from {lowest:.3g} to {end:.3g} "
        f"({rise:+.2g} ± {margin:.1g}) while the training loss fell to {progress.end:.3g}{decisions}."
    )
    return Finding(
        slug=Overfitting.slug,
        severity="warning",
        confidence=0.93 if rise > 2 * SIGNIFICANT * validation.rise_error else 0.8,
        question=Overfitting.question,
        title="The network learns the training data by heart",
        why=why,
        where=where(validation.site.site, first_step=best_step, last_step=progress.last_step),
        evidence=(
            Evidence(
                "rise of the validation loss",
                rise / abs(lowest) if lowest else float("nan"),
                "fraction of its best",
                RISE,
                "SageMaker Debugger: 0.1; raised, as healthy runs reach it",
            ),
            *(
                (Evidence("gap, validation − training", end - progress.end, "", None, f"± {margin:.2g} at 95 %"),)
                if validation.comparable
                else ()
            ),
            Evidence("best step", float(best_step), "step"),
        ),
        remedies=_remedies(run, best_step),
    )


def _decisions(validation: Validation) -> str:
    accuracy = validation.accuracy
    if not np.isfinite(accuracy[[validation.best, -1]]).all():
        return ""
    now, then = median(accuracy[-validation.end_passes :]), float(accuracy[validation.best])
    if now >= then - CONFIDENCE_ONLY:
        return f"; the accuracy did not suffer ({then:.1%} → {now:.1%}): it grew too sure of itself, not worse in its decisions"
    return f"; the accuracy went from {then:.1%} to {now:.1%}"


def _remedies(run: Run, best_step: int | None) -> tuple[Remedy, ...]:
    optimizer = main_optimizer(run)
    place = at(optimizer.site) if optimizer else "the place where the optimizer is made"
    name = optimizer.class_name if optimizer else "AdamW"
    return (
        Remedy(
            "early-stopping",
            "keep the weights of the best validation loss",
            "# save when the validation loss is lowest"
            if best_step is None
            else f"# stop near step {best_step:,}: save when the validation loss is lowest",
        ),
        Remedy("weight-decay", "hold the weights small", f"{name}(…, weight_decay=1e-2)  # at {place}"),
        Remedy("dropout", "drop activations in training", "nn.Dropout(0.2) after each hidden activation"),
        Remedy("more-data", "more or augmented data", "# the only remedy that also lowers the best validation loss"),
    )
