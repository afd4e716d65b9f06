"""label-noise: labels that have nothing to do with their inputs, a part of them or all."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vivavoce.examine.capacity_too_small import bottleneck
from vivavoce.examine.detector import Detector
from vivavoce.examine.doubt import HONEST_RANK, Doubt, doubt_of, doubts, late_doubt, skilled
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Severity
from vivavoce.examine.guessing import ABOVE, at_chance
from vivavoce.examine.learning_rate_too_low import lengths_to_halve
from vivavoce.examine.progress import BINARY, CLASSIFICATION, Progress
from vivavoce.examine.reading import NO_GRADIENT, main_optimizer, optimizer_track, weights_of, where
from vivavoce.examine.underfitting import limit_of
from vivavoce.examine.validation import FEWEST_PASSES, Validation, validation_of
from vivavoce.measure.robust import median
from vivavoce.record.run import Run

ENOUGH_ERRORS = 25.0  # wrong examples that can speak for themselves
LEAST_RANK = (
    0.25  # dropout and noise added to the inputs bring honest errors up to 0.22; a third of random labels: 0.35
)
CLEAR_RANK = 0.3  # where strong augmentation alone could make training errors so many more than those of validation
CERTAIN = 3.0  # standard errors above `HONEST_RANK`
LEAST_WRONG = 0.08  # fraction of wrong examples that is worth a word
SURE_SHARE = 0.7  # error rate of the surer half over that of all: 1 where sureness says nothing; honest: 0 … 0.6
SURE_OF_TWO, SUREST_OF_TWO = (
    0.65,
    0.45,
)  # the same of two classes, for the half and the quarter; honest: 0 … 0.5, 0 … 0.2
GAP, GAP_OF_TWO = 0.5, 0.25  # of the wrong examples: so many fewer on validation data
LEAST_OF_TWO = 0.1  # fraction of wrong examples
ERRORS_OF_TWO = 50.0  # wrong examples: nothing but sureness speaks of two classes
WORTHLESS = 0.98  # fraction of chance level: a best validation loss above it says that nothing carries over
BY_HEART = 0.85  # fraction of chance level that the training loss fell below meanwhile
WELL = 0.5  # of the way from the commonest class's share to no errors
LEARNING = 0.3  # fraction of chance level: above it the training data are not learned by heart yet
FEWEST_STEPS = 100  # steps before anything is said of a network that stays at chance level
OF_SEQUENCES = frozenset({"RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell", "MultiheadAttention"})
BEYOND_PLATEAUS = 250  # steps: sequences are often learned after a long plateau at chance level
NOTHING = 0.95  # fraction of chance level that is left: what is gained later and slowly is learned by heart
LITTLE = 0.85  # fraction of chance level: development programs end below 0.7 where they are healthy
FAR = 0.25  # ‖Δw‖/‖w‖ of all steps together
FALLING_Z = -2.3  # Mann–Kendall statistic of the second half, one-sided 1 %
SLOW = 3.0  # run lengths that halving the loss would take
RARE = 0.05  # share of the rarest of two classes; of C classes, as many times less
FEW_A_CLASS = 30  # examples of a class: fewer are learned by heart, whether their labels are right or wrong
MOVING = 2e-5  # ‖Δw‖/‖w‖: the network moves, so that a loss at chance level is not for want of steps


class LabelNoise(Detector):
    """Errors whose labels are any class, not the runner-up; or training that carries nothing over; or nothing to learn."""

    slug = "label-noise"
    question = 7
    passing = True
    explains = ("guessing", "overfitting", "underfitting", "stopped-too-early", "stopped-too-late", "class-ignored",
                "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """From the strongest evidence to the weakest."""
        progress = Progress.of(run)
        if progress is None or progress.loss is None or progress.players > 1:
            return
        if not (progress.guessable or progress.regression):
            return
        doubt, validation = doubt_of(run, progress), validation_of(run, progress, 1)
        if (
            doubt is not None and progress.learned and _noisy(doubt) and run.tracks("input")
        ):  # the next token is uncertain
            yield _partly(progress, doubt)
        elif validation is not None and (clean := _clean_elsewhere(run, progress, validation)):
            yield _partly(progress, clean[0], f" On the validation data {clean[1]:.0%} are right.")
        elif validation is not None and _carries_nothing(run, progress, validation):
            yield _all_wrong(progress, validation)
        elif (
            (at_chance(run, progress) or _tells_nothing(run, progress))
            and run.steps >= FEWEST_STEPS
            and rarest_share(run, progress) >= RARE
            and _works(run)
        ):
            yield _unrelated(progress)
        elif doubt is not None and progress.learned:
            yield RuledOut(
                self.slug,
                f"of the examples that the network is surest of, {doubt.sure:.0%} are wrong, of all {doubt.wrong:.0%}"
                if math.isnan(doubt.rank)
                else f"the labels of wrong examples rank {doubt.rank:.2f} among the other classes (any: 0.5)",
            )


def _noisy(doubt: Doubt) -> bool:
    if math.isnan(doubt.rank):
        return (
            doubt.sure > SURE_OF_TWO * doubt.wrong
            and doubt.surest > SUREST_OF_TWO * doubt.wrong
            and doubt.wrong > LEAST_OF_TWO
            and doubt.errors >= ERRORS_OF_TWO
        )
    flat = doubt.sure > SURE_SHARE * doubt.wrong
    return (
        doubt.z > CERTAIN
        and doubt.rank > LEAST_RANK
        and flat
        and doubt.wrong > LEAST_WRONG
        and doubt.errors >= ENOUGH_ERRORS
    )


def _clean_elsewhere(run: Run, progress: Progress, validation: Validation) -> tuple[Doubt, float] | None:
    """The wrong examples of a network that is much better on the validation data, and its accuracy there.

    What it did last in training is held against what it had reached on the validation data before: it may learn fast.
    """
    track = doubts(run, progress)
    until = int(track.steps[-1]) if track is not None and len(track) else 0
    known = np.isfinite(validation.accuracy)
    for doubt, rows in (
        (doubt_of(run, progress), known),
        (late_doubt(run, progress), known & (validation.steps <= until)),
    ):
        if doubt is not None and rows.any():
            reached = float(validation.accuracy[rows][-1])
            if _better_elsewhere(run, progress, doubt, reached):
                return doubt, reached
    return None


def _better_elsewhere(run: Run, progress: Progress, doubt: Doubt, reached: float) -> bool:
    """Far fewer errors on other data, whose labels are clean, then; dropout and augmentation leave near misses."""
    if doubt.wrong < LEAST_WRONG or limit_of(run) or 1 - reached > skilled(progress):
        return False
    error = math.sqrt(doubt.wrong * (1 - doubt.wrong) / max(1.0, doubt.errors / doubt.wrong))
    gap = doubt.wrong - (1 - reached)
    if gap < CERTAIN * error:
        return False
    if math.isnan(doubt.rank):
        return gap > GAP_OF_TWO * doubt.wrong and _noisy(doubt)
    far = doubt.rank > max(CLEAR_RANK, LEAST_RANK + CERTAIN * doubt.rank_error)
    return gap > GAP * doubt.wrong and doubt.sure > SURE_SHARE * doubt.wrong and far


def rarest_share(run: Run, progress: Progress) -> float:
    """The share of the rarest class that occurs in the training targets; 1 where it is not known."""
    if progress.loss is None:
        return 1.0
    owner = ("loss", progress.loss.id)
    if progress.function in BINARY:
        rates = run.series("target", owner, "mean").finite.mean
        return float(min(np.mean(rates), 1 - np.mean(rates))) if len(rates) else 1.0
    totals = [
        np.nansum(track.mean * track.counts[:, None], axis=0)
        for track in run.tracks("target_classes")
        if track.owner == owner and len(track)
    ]
    counts = np.sum(totals, axis=0) if totals else np.ones(1)
    return (
        float(counts[counts > 0].min() / counts.sum()) * (progress.loss.classes or 1) / 2 if counts.sum() > 0 else 1.0
    )


def _few_examples(run: Run, progress: Progress) -> bool:
    """So few training examples that right labels would carry little over, too."""
    loader = next((item for item in run.loaders.values() if item.role == "train"), None)
    classes = progress.loss.classes if progress.loss else None
    return loader is not None and 0 < (loader.dataset_size or 0) < FEW_A_CLASS * (classes or 2)


def _carries_nothing(run: Run, progress: Progress, validation: Validation) -> bool:
    """The training loss fell well below chance level, the validation loss never did."""
    chance = progress.chance if validation.comparable else None
    if chance is None or validation.site.function not in CLASSIFICATION | BINARY or _few_examples(run, progress):
        return False
    if rarest_share(run, progress) < RARE:  # a few examples decide such a loss: it says little of the decisions
        return False
    if _decides_well(run, validation):  # too sure of itself, or of too few examples, but not for wrong labels
        return False
    if len(validation.losses) < FEWEST_PASSES:  # what was learned by heart may look like this at the end of a run
        return LEARNING * chance < progress.end < BY_HEART * chance and validation.end > chance
    return progress.end < BY_HEART * chance and float(validation.losses.min()) > WORTHLESS * chance


def _decides_well(run: Run, validation: Validation) -> bool:
    """Its best decisions on the validation data lie far above naming the commonest class."""
    known = validation.accuracy[np.isfinite(validation.accuracy)]
    share = median(run.series("val/constant", ("loss", validation.site.id), "share").finite.mean)
    return len(known) > 0 and bool(known.max() > share + WELL * (1 - share))


def _tells_nothing(run: Run, progress: Progress) -> bool:
    """The weights went a long way, and hardly anything was gained over a constant prediction, nor will be soon."""
    if progress.chance is None or not progress.bounded or not progress.had_room or bottleneck(run) is not None:
        return False
    if run.steps < BEYOND_PLATEAUS and any(module.class_name in OF_SEQUENCES for module in run.modules.values()):
        return False
    shares = progress.levels / progress.chance
    early, late = median(shares[: len(shares) // 4]), median(shares[len(shares) // 2 :])
    several = (
        progress.loss is not None and (progress.loss.classes or 0) > 2
    )  # numbers and yes or no often hang on little
    if late < NOTHING and not (several and early > NOTHING and progress.trend().z < FALLING_Z):
        return False  # what was learned at once, the inputs tell: a little, and no more
    slow = progress.trend(0.5).z > FALLING_Z or lengths_to_halve(progress) > SLOW
    return LITTLE < late < ABOVE and travelled(run) > FAR and slow and not _carries_over(run, progress)


def _carries_over(run: Run, progress: Progress) -> bool:
    """The validation loss was lower than a constant's by more than the batches of a pass vary."""
    validation = validation_of(run, progress, 1)
    if validation is None:
        return False
    owner = ("loss", validation.site.id)
    difference, error = (run.series("val/constant", owner, name).mean for name in ("difference", "error"))
    if not len(difference):
        return False
    best = int(np.argmin(difference))
    return bool(difference[best] < -CERTAIN * (error[best] if np.isfinite(error[best]) else 0.0))


def travelled(run: Run) -> float:
    """The sum of all steps' ‖Δw‖/‖w‖, of the median weight: 1 is a way as long as the weights are."""
    optimizer = main_optimizer(run)
    weights = weights_of(run, optimizer) if optimizer else None
    return median(weights.typical_update) * run.steps if weights is not None else 0.0


def _works(run: Run) -> bool:
    """The network moves, every weight receives gradients, and its input varies: it could learn if there were something."""
    optimizer = main_optimizer(run)
    weights = weights_of(run, optimizer) if optimizer else None
    track = optimizer_track(run, "gradient_norm", optimizer) if optimizer else None
    if weights is None or track is None or not median(weights.typical_update) > MOVING or limit_of(run):
        return False
    return bool((track.maximum[-1] != NO_GRADIENT).all() and (track.maximum > 0).any(axis=0).all())


def _partly(progress: Progress, doubt: Doubt, more: str = "") -> Finding:
    two = math.isnan(doubt.rank)
    if two:
        like = f"their labels are no close calls: {doubt.surest:.0%} of the quarter that the network is surest of are wrong, too"
        evidence = Evidence(
            "wrong among the surest quarter",
            doubt.surest,
            "fraction",
            SUREST_OF_TWO * doubt.wrong,
            "honest errors: next to none",
        )
    else:
        like = (
            f"their labels are no near misses: they rank {doubt.rank:.2f} among the other classes (0 the runner-up, 0.5 any class), "
            f"{doubt.sure:.0%} of the ones that the network is surest of are wrong, too"
        )
        evidence = Evidence(
            "mean rank of the labels of wrong examples",
            doubt.rank,
            "0 … 1",
            HONEST_RANK,
            "honest errors: the runner-up",
        )
    limit = (SURE_OF_TWO if two else SURE_SHARE) * doubt.wrong
    return _finding(
        progress,
        "warning",
        0.7 if two or doubt.z <= CERTAIN else 0.75 if doubt.z <= 2 * CERTAIN else 0.85,
        f"{doubt.wrong:.0%} of the training examples looked at are wrong, and {like}. Labels drawn at random look like this.{more}",
        (evidence, Evidence("wrong among the surer half", doubt.sure, "fraction", limit, "honest errors: unsure")),
    )  # fmt: skip


def _all_wrong(progress: Progress, validation: Validation) -> Finding:
    best = float(validation.losses.min())
    return _finding(
        progress,
        "critical",
        0.8,
        (
            f"The training loss fell to {progress.end:.3g}, but the validation loss never came below {best:.3g}, what a constant "
            f"prediction gives ({progress.chance:.3g}): nothing of what is learned holds for other examples. The labels have "
            f"little to do with the inputs."
        ),
        (Evidence("best validation loss", best, "", progress.chance, "chance level"),),
    )


def _unrelated(progress: Progress) -> Finding:
    targets = "labels" if progress.guessable else "targets"
    return _finding(
        progress,
        "warning",
        0.7,
        (
            f"The network moves and receives gradients, yet the loss stays at {progress.end:.3g}, about what a constant prediction "
            f"gives ({progress.chance:.3g}{_classes(progress)}): the {targets} have little or nothing to do with the inputs (shuffled "
            f"apart?), or the inputs tell nothing."
        ),
        (Evidence("loss", progress.end, "", progress.chance, "chance level"),),
    )


def _classes(progress: Progress) -> str:
    """Among how many classes it guesses, in words."""
    classes = progress.loss.classes if progress.loss else None
    if not classes or progress.function not in CLASSIFICATION:
        return ""
    return f"; guessing among {classes} classes gives ln {classes} = {math.log(classes):.3f}"


def _finding(
    progress: Progress, severity: Severity, confidence: float, why: str, evidence: tuple[Evidence, ...]
) -> Finding:
    return Finding(
        slug=LabelNoise.slug,
        severity=severity,
        confidence=confidence,
        question=LabelNoise.question,
        title="Some labels look wrong",
        why=why,
        where=where(progress.loss.site if progress.loss else None, first_step=1, last_step=progress.last_step),
        evidence=evidence,
        remedies=(
            Remedy("check-labels", "check that inputs and labels belong together", "print(x[:4], y[:4])  # after loading and shuffling"),
            Remedy("list-suspects", "look at confident errors on held-out folds", "viva lab confusion predictions.csv"),
            Remedy("label-smoothing", "a loss that trusts labels less", "F.cross_entropy(logits, target, label_smoothing=0.1)"),
        ),
    )  # fmt: skip
