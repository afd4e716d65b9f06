"""train-eval-mismatch: evaluation works with other statistics, inputs or labels than training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Where
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import where
from vivavoce.examine.validation import Validation, validation_of
from vivavoce.measure.robust import median
from vivavoce.record.entities import Module
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

SHIFT = 1.0  # deviations between the batch's mean and the one kept: healthy batches of 8 and more lie below 0.5
SCALE = 4.0  # times between the variances: healthy batches lie below 2
INPUT_SHIFT = (
    3.0  # deviations between the mean input of an evaluation and of training: samples of the same data lie below 1
)
INPUT_SCALE = 5.0  # times between their deviations
TINY = 1e-9  # of a deviation
FEWEST_SAMPLES = 4  # sampled steps, and as many later ones that must agree
LATE = 0.5  # of the run: before, the kept statistics are still on their way
SETTLED = 100  # steps after which statistics of the usual momentum, 0.1, have long forgotten where they began
BURST = 5.0  # forwards in training mode without a backward call between two samples
BURST_SHARE = 0.1  # of the forwards of the run that came in bursts
FEWEST_PASSES = 3  # validation passes: one or two may be a look in between
MOST_PASSES = 0.3  # of the steps: where every step has a pass without gradients, it is a part of the training
LEAST_DROPPED = 0.1  # share of the units
NEARLY_ALL = 0.9  # of the passes
EARLY_EPOCHS = (
    3.1  # passes over the data within which nothing is learned by heart so far that validation falls below guessing
)
FRESH = 0.5  # of the first epoch: the examples of its second half are new ones to a network that has begun to learn
LEARNED_FRESH = 0.8  # fraction of chance level that the loss of new examples must fall below
WORTHLESS = 0.98  # fraction of chance level
FAR = 3.0  # times the training loss
USUAL_SPAN = 0.25  # quantile of the forwards for each backward call that counts as usual


class TrainEvalMismatch(Detector):
    """The kept statistics stay far from those of the batches, or the network was evaluated in training mode."""

    slug = "train-eval-mismatch"
    question = 9
    passing = True
    explains = ("overfitting", "stopped-too-late", "label-noise", "beaten-by-baseline")

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Judge the layer that is furthest off, then the counts of forwards in training mode."""
        worst = _worst(run)
        extra = _extra_forwards(run)
        early = _too_early_to_overfit(run)
        other = _other_inputs(run)
        if worst is not None and (worst[1] > SHIFT or worst[2] > SCALE):
            yield _stale(run, *worst)
        elif extra is not None and extra[0] > BURST_SHARE:
            yield _in_bursts(run, *extra)
        elif (dropped := _dropped_in_evaluation(run)) is not None:
            yield _with_dropout(run, *dropped)
        elif other is not None:
            yield _prepared_otherwise(run, *other)
        elif early is not None:
            yield _other_data(run, early)
        elif worst is not None:
            yield RuledOut(self.slug, f"batch and kept statistics differ by {worst[1]:.2g} deviations at most")


def _other_inputs(run: Run) -> tuple[Track, Track, int] | None:
    """The inputs that a model was trained on, those it was evaluated on, and the evaluation that lies far from them; if any."""
    evaluated = {track.owner: track for track in run.tracks("val/input") if len(track)}
    for track in run.tracks("input"):
        found = evaluated.get(track.owner)
        if found is None or len(track) < FEWEST_SAMPLES:
            continue
        mean, deviation = median(track.mean[:, 0]), median(track.mean[:, 1])
        spread = max(deviation, float(np.ptp(track.mean[:, 0])))  # batches of a series may each lie elsewhere
        if not spread > 0 or not deviation > 0:
            continue
        shift = np.abs(found.mean[:, 0] - mean) / spread
        scale = np.maximum(found.mean[:, 1] / deviation, deviation / np.maximum(found.mean[:, 1], TINY * deviation))
        far = np.flatnonzero((shift > INPUT_SHIFT) | ((scale > INPUT_SCALE) & (found.mean[:, 1] > 0)))
        if len(far):
            return track, found, int(far[np.argmax(np.maximum(shift, scale)[far])])
    return None


def _worst(run: Run) -> tuple[Module, float, float] | None:
    """The normalisation with the largest lasting difference: (module, shift, scale)."""
    found = []
    scales = {track.owner: track for track in run.tracks("norm_scale")}
    for track in run.tracks("norm_shift"):
        scale = scales.get(track.owner)
        late = track.steps >= min(SETTLED, LATE * run.steps)
        if scale is None or scale.columns != track.columns or len(scale) != len(track):
            continue
        if len(track) < FEWEST_SAMPLES or int(late.sum()) < FEWEST_SAMPLES // 2:
            continue
        for i, id in enumerate(track.columns):
            if int(id) in run.modules:
                found.append((run.modules[int(id)], median(track.mean[late, i]), median(scale.mean[late, i])))
    return max(found, key=lambda item: max(item[1] / SHIFT, item[2] / SCALE), default=None)


def _extra_forwards(run: Run) -> tuple[float, float] | None:
    """(share of the forwards in training mode that no backward call explains, the largest burst); None if unknown."""
    calls = [track for track in run.tracks("train/loss") if len(track)]
    tracks = [track for track in run.tracks("norm_forwards") if len(track) >= FEWEST_SAMPLES]
    if not calls or not tracks:
        return None
    return max((_bursts(track, calls) for track in tracks), key=lambda pair: pair[0])


def _bursts(track: Track, calls: list[Track]) -> tuple[float, float]:
    forwards = np.diff(track.mean[:, 0])
    until = np.array([sum(int(c.counts[c.steps <= step].sum()) for c in calls) for step in track.steps])
    backwards = np.diff(until.astype(np.float64))
    keep = (backwards > 0) & (forwards >= 0)
    if keep.sum() < FEWEST_SAMPLES - 1:
        return 0.0, 0.0
    rate = forwards[keep] / backwards[keep]
    usual = float(np.quantile(rate, USUAL_SPAN))
    excess = forwards[keep] - np.ceil(usual) * (backwards[keep] + 1)
    burst = excess[excess > BURST]
    return float(burst.sum() / max(1.0, forwards[keep].sum())), float(burst.max(initial=0.0))


def _dropped_in_evaluation(run: Run) -> tuple[Track, float] | None:
    """The passes during which units were dropped, and the share of units; None where that is no habit, or all there is."""
    for track in run.tracks("val/dropout"):
        share = median(track.mean[:, 0])
        seldom = FEWEST_PASSES <= len(track) <= MOST_PASSES * run.steps
        if seldom and share >= LEAST_DROPPED and (track.mean[:, 0] > 0).mean() >= NEARLY_ALL:
            return track, share
    return None


@dataclass(frozen=True)
class Early:
    """A validation pass of the first epochs: its step, its loss, the training's level then, and chance level."""

    validation: Validation
    step: int
    loss: float
    training: float
    chance: float


def _too_early_to_overfit(run: Run) -> Early | None:
    """Validation is worse than guessing from the first epochs to the end, while examples seen for the first time are learned.

    What is learned by heart takes several passes over the data; in the first one, every example is a new one.
    """
    progress = Progress.of(run)
    validation = validation_of(run, progress, FEWEST_SAMPLES) if progress is not None else None
    epoch = _epoch(run)
    if progress is None or validation is None or not epoch or not validation.comparable or progress.chance is None:
        return None
    chance, losses = progress.chance, run.train_loss.finite
    after = (validation.steps >= epoch) & (validation.steps <= EARLY_EPOCHS * epoch)
    fresh = losses.mean[(losses.steps > FRESH * epoch) & (losses.steps <= epoch)]
    if not after.any() or not len(fresh) or not progress.learned or progress.players > 1:
        return None
    learned_fresh = median(fresh) < LEARNED_FRESH * chance
    worthless = bool((validation.losses[validation.steps >= epoch] > WORTHLESS * chance).all())
    late = int(np.flatnonzero(after)[-1])
    near = losses.mean[(losses.steps > validation.steps[late] - epoch) & (losses.steps <= validation.steps[late])]
    far = (
        validation.losses[late] > max(FAR * median(near), chance) and validation.losses[-1] > chance
        if len(near)
        else False
    )
    if (learned_fresh and worthless) or (
        far and median(near) < LEARNED_FRESH * chance and validation.losses[late:].min() > chance
    ):
        return Early(validation, int(validation.steps[late]), float(validation.losses[late]), median(near), chance)
    return None


def _epoch(run: Run) -> int:
    """Steps of one pass over the training data, as its loader has it; 0 where there is none."""
    loader = next((item for item in run.loaders.values() if item.role == "train" and item.batches), None)
    calls = len(run.train_loss) and int(run.train_loss.counts.sum()) / max(1, run.steps)
    return round(loader.batches / calls) if loader is not None and loader.batches and calls else 0


def _other_data(run: Run, early: Early) -> Finding:
    site = early.validation.site
    return Finding(
        slug=TrainEvalMismatch.slug,
        severity="warning",
        confidence=0.78,
        question=TrainEvalMismatch.question,
        title="Validation is another task than training",
        why=(
            f"At step {early.step:,} the validation loss was {early.loss:.3g}, worse than a constant prediction ({early.chance:.3g}), and the "
            f"training loss {early.training:.3g}; it never got better. After so few passes over the data that is no overfitting: validation data are "
            f"prepared in another way (scaling, order of columns, labels), or the network computes something else in evaluation mode."
        ),
        where=where(site.site, first_step=early.step, last_step=run.steps),
        evidence=(Evidence("validation loss in the first epochs", early.loss, "", early.chance, "chance level"),),
        remedies=(
            Remedy("same-transform", "prepare both sets with the numbers of the training set", "x_val = (x_val - train_mean) / train_std"),
            Remedy("check-validation", "evaluate the training data in the same way", "evaluate(model, train_loader)"),
        ),
    )  # fmt: skip


def _prepared_otherwise(run: Run, trained: Track, evaluated: Track, row: int) -> Finding:
    mean, deviation = median(trained.mean[:, 0]), median(trained.mean[:, 1])
    other_mean, other_deviation = float(evaluated.mean[row, 0]), float(evaluated.mean[row, 1])
    step = min(int(evaluated.steps[row]), run.steps)
    model = run.models.get(trained.owner[1]) if trained.owner else None
    return Finding(
        slug=TrainEvalMismatch.slug,
        severity="warning",
        confidence=0.85,
        question=TrainEvalMismatch.question,
        title="The network is evaluated on inputs of another scale",
        why=(
            f"{model.name if model else 'The model'} was trained on inputs of mean {mean:.3g} and deviation {deviation:.3g}, and evaluated after "
            f"{step:,} steps on inputs of mean {other_mean:.3g} and deviation {other_deviation:.3g}: they are prepared in another way."
        ),
        where=where(model.site if model else None, first_step=step, last_step=step),
        evidence=(
            Evidence("mean of the inputs in evaluation", other_mean, "", mean, "in training"),
            Evidence("deviation of the inputs in evaluation", other_deviation, "", deviation, "in training"),
        ),
        remedies=(
            Remedy("same-transform", "prepare both sets with the numbers of the training set", "x_val = (x_val - train_mean) / train_std"),
        ),
    )  # fmt: skip


def _stale(run: Run, module: Module, shift: float, scale: float) -> Finding:
    return Finding(
        slug=TrainEvalMismatch.slug,
        severity="warning",
        confidence=0.88,
        question=TrainEvalMismatch.question,
        title="The network behaves differently in training and evaluation mode",
        why=(
            f"In {module.name} the mean of a training batch lies {shift:.2g} deviations from the running mean that evaluation uses, "
            f"and its variance is {scale:.2g} × off: model.eval() computes something else than what was trained."
        ),
        where=where(module.site, layer=module.name, first_step=int(LATE * run.steps), last_step=run.steps),
        evidence=(
            Evidence("batch mean − running mean", shift, "deviations", SHIFT, "healthy batches of 8 and more: below 0.5"),
            Evidence("batch variance / running variance", scale, "×", SCALE, "healthy: below 2"),
        ),
        remedies=(
            Remedy("momentum", "let the running statistics follow", "nn.BatchNorm1d(width, momentum=0.1)"),
            Remedy("layer-norm", "or a normalisation that keeps none", "nn.LayerNorm(width), nn.GroupNorm(8, width)"),
        ),
    )  # fmt: skip


def _with_dropout(run: Run, track: Track, share: float) -> Finding:
    site = run.losses[track.owner[1]].site if track.owner and track.owner[1] in run.losses else None
    return _evaluated_in_training(
        f"In {len(track)} validation passes the network was in training mode and dropped up to {share:.0%} of its units: "
        "model.eval() is missing. The validation loss is that of a network with holes, and the accuracy is worse than it need be.",
        where(site, first_step=int(track.steps[0]), last_step=int(track.steps[-1])),
        Evidence("units dropped in validation", share, "fraction", 0.0, "model.eval() drops none"),
    )


def _in_bursts(run: Run, share: float, burst: float) -> Finding:
    return _evaluated_in_training(
        f"{share:.0%} of the forward passes in training mode were followed by no backward pass (up to {burst:,.0f} in a row): "
        "model.eval() is missing. Batch normalisation then judges each example by the batch it is in, and learns from it.",
        where(None, first_step=1, last_step=run.steps),
        Evidence("forwards in training mode without backward", share, "fraction", BURST_SHARE, "num_batches_tracked"),
    )


def _evaluated_in_training(why: str, place: Where, evidence: Evidence) -> Finding:
    return Finding(
        slug=TrainEvalMismatch.slug,
        severity="warning",
        confidence=0.85,
        question=TrainEvalMismatch.question,
        title="The network is evaluated in training mode",
        why=why,
        where=place,
        evidence=(evidence,),
        remedies=(Remedy("eval-mode", "evaluate in evaluation mode, and go back", "model.eval(); …; model.train()"),),
    )
