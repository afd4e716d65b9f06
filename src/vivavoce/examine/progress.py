"""How the training went, by its loss: where it started, where it stands, how noisy it is, what chance would give.

Detectors of symptoms ask this first: a network that learns is not ill because one of its layers looks odd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.handmade import chance_by_hand, of_errors
from vivavoce.examine.reading import last_phase
from vivavoce.measure.chance import binary_entropy, entropy, uniform_cross_entropy
from vivavoce.measure.robust import median, stream_noise
from vivavoce.measure.trend import Trend, robust_trend
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.record.tracks import Series

BLOCKS = 24  # blocks that the loss is cut into for trends: enough for a Mann–Kendall test, few enough to average noise
FEW_BLOCKS = 12  # blocks of a short run: enough for a trend of its second half
END_FRACTION = 0.1  # of the rows: the "end" of a run; at least END_ROWS
END_ROWS = 5  # rows
START_ROWS = 3  # rows: the loss often falls within the first ten
START_NOISE = 2.0  # standard deviations of a row: the start is a level of `START_ROWS` rows, or of a single one
EARLY_ROWS = 20  # rows: where a first step of the wrong size shows
WORSE_THAN_CHANCE = 1.25  # times chance level: a run that ends there is confidently wrong, however far it fell
LEARNED = 0.1  # fraction of the start or chance level that a loss must fall to count as learning at all
SIGNIFICANT = 4.0  # standard errors: 1 false call in 16,000 for normal noise, and loss noise has heavier tails
ROUNDING = (
    1e-3  # fraction of the start by which a loss that is positive by its nature may fall below zero (log(p + 1e-8))
)
CONFIRMED = 0.5  # of the sampled steps with two kinds of batches
RIVAL_SHARE = 0.1  # of the calls of the main backward site: what is called less often is no player's own loss
CLASSIFICATION = frozenset({"cross_entropy", "nll_loss"})
BINARY = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
MOST_LOG = 200.0  # natural logarithm: what larger likelihoods are cut at
GAUSSIAN = frozenset({"gaussian_nll_loss"})
SQUARED = frozenset({"mse_loss"})
ABSOLUTE = frozenset({"l1_loss", "smooth_l1_loss", "huber_loss"})
FLOOR_ZERO = (
    CLASSIFICATION
    | BINARY
    | SQUARED
    | {
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "multi_margin_loss",
        "ctc_loss",
        "triplet_margin_loss",
        "soft_margin_loss",
    }
    | {"margin_ranking_loss", "hinge_embedding_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss"}
)  # loss functions that cannot fall below zero, and that fall where the network learns


@dataclass(frozen=True)
class Progress:
    """The course of the main loss. Levels are medians, in the unit of the loss; `steps` and `levels` have shape (blocks,).

    `chance` is the loss of the best constant prediction, where it is known; `function` the loss function's name, ""
    where the loss was computed by hand; `noise` the standard deviation of one row about its level near the end; `length` the
    number of steps of the run; `early_peak` the highest of the first `EARLY_ROWS` rows.
    """

    function: str
    start: float
    end: float
    best: float
    noise: float
    rows: int
    end_rows: int
    last_step: int
    length: int
    early_peak: float
    steps: NDArray[np.float64]
    levels: NDArray[np.float64]
    chance: float | None = None
    loss: Loss | None = None
    players: int = 1
    contested: bool = False  # a discriminator plays: its loss at chance level is what its rival is after
    lowest: float = -math.inf  # of all values
    inside: bool = False  # these are the values of a loss function that is a part of the loss, or of it before scaling
    errors_by_hand: bool = False  # a mean of squares or absolute values of differences, written without a loss function
    as_variance: bool = False  # a Gaussian likelihood as the share of variance that it leaves, exp 2(L - chance)

    @classmethod
    def of(cls, run: Run) -> Progress | None:
        """The progress of a run's main loss; None where fewer than `2 · END_ROWS` finite values were recorded."""
        site = main_function(run)
        unchanged = run.main_loss is not None and bool(run.main_loss.function)  # given to backward() as it was made
        series = run.series("train/function_loss", ("loss", site.id)) if site and not unchanged else run.train_loss
        if len(series.finite) < 2 * END_ROWS:
            site, series = None, run.train_loss  # the loss function was hardly seen
        begun = last_phase(run)
        finite = series.finite
        if begun and int((finite.steps > begun).sum()) >= 2 * END_ROWS:
            finite = finite.where(finite.steps > begun)
        if len(finite) < 2 * END_ROWS:
            return None
        return _progress(finite, site, run)

    @property
    def error(self) -> float:
        """Standard error of the end level: of a median, √(π/2) times that of a mean."""
        return self.noise * math.sqrt(math.pi / 2 / max(1, self.end_rows))

    @property
    def reference(self) -> float:
        """What the loss must fall below to show learning: where it started, or chance level if that is lower."""
        return self.start if self.chance is None else min(self.start, self.chance)

    @property
    def bounded(self) -> bool:
        """The loss is of a kind that cannot fall below zero and has one player: its relative change means something."""
        return (self.function in FLOOR_ZERO or self.as_variance or self.by_hand) and self.players == 1

    @property
    def by_hand(self) -> bool:
        """The loss was computed without a loss function, and never fell below zero: its floor is not known."""
        return not self.function and self.start > 0 and self.lowest >= -ROUNDING * self.start

    @property
    def floor_known(self) -> bool:
        """The loss cannot fall below zero, and would get near it."""
        return self.bounded and (not self.by_hand or self.errors_by_hand or self.chance is not None)

    @property
    def guessable(self) -> bool:
        """The loss of a classification, so that `chance` is that of a guess; a discriminator at chance has lost honourably."""
        by_hand = self.by_hand and self.chance is not None and not self.errors_by_hand
        own = self.function in BINARY or by_hand
        return self.function in CLASSIFICATION or (own and not self.contested)

    @property
    def regression(self) -> bool:
        """The loss is one of errors, so that `chance` is what predicting the mean loses."""
        return self.function in SQUARED | ABSOLUTE or self.errors_by_hand

    @property
    def learned(self) -> bool:
        """The loss fell below its reference by more than `LEARNED` of it and more than its noise explains."""
        fall = self.reference - self.end
        return fall > LEARNED * abs(self.reference) and fall > SIGNIFICANT * self.error

    @property
    def falling(self) -> bool:
        """The loss falls steadily over the whole run: what has not been learned yet may still be."""
        return self.trend().z < -SIGNIFICANT and self.end < self.start - SIGNIFICANT * self.error

    @property
    def remaining(self) -> float:
        """The fraction of the reference that is left at the end; NaN where that means nothing."""
        if not self.bounded or self.reference <= 0:
            return float("nan")
        return self.end / self.reference

    @property
    def rose(self) -> bool:
        """The end level lies above the start by more than `LEARNED` of it and more than the noise of both explains."""
        rise = self.end - self.start
        return rise > LEARNED * abs(self.start) and rise > max(SIGNIFICANT * self.error, START_NOISE * self.noise)

    @property
    def had_room(self) -> bool:
        """The run started near chance level or worse: there was something to learn. True where chance is unknown."""
        return self.chance is None or self.start > 0.5 * self.chance

    @property
    def off(self) -> bool:
        """Something is clearly wrong with a loss that should fall: it rose, or stayed where a constant would be."""
        if not self.bounded:
            return False
        if self.chance is not None and self.had_room and self.end > WORSE_THAN_CHANCE * self.chance:
            return True
        falling = self.trend().z < -SIGNIFICANT
        return self.rose or (not self.learned and not falling and self.had_room)

    @property
    def sentence(self) -> str:
        """One plain sentence about the course of the loss."""
        verb = "fell" if self.end < self.start else "rose" if self.rose else "did not fall: it went"
        chance = f" (chance level {self.chance:.3g})" if self.chance is not None else ""
        course = f"{verb} from {self.start:.3g} to {self.end:.3g}{chance} over {self.length:,} steps"
        contest = ", as the loss of one of several players may" if self.players > 1 and self.end >= self.start else ""
        return f"The {self._subject} {course}{contest}."

    @property
    def _subject(self) -> str:
        if self.as_variance:
            return "share of the variance that the likelihood leaves"
        return f"{self.function} in the training loss" if self.inside else "training loss"

    def trend(self, fraction: float = 1.0) -> Trend:
        """The robust trend of the block levels over the last `fraction` of the blocks, per step."""
        first = int(len(self.levels) * (1 - fraction))
        return robust_trend(self.steps[first:], self.levels[first:])


def main_function(run: Run) -> Loss | None:
    """The call site of the loss function that makes the main loss; None where it was computed by hand.

    Of several sites of that function, the one whose values were recorded most often.
    """
    main = run.main_loss
    calls: dict[int, int] = {}
    for track in run.tracks("train/function_loss"):
        if track.owner is not None:
            calls[track.owner[1]] = calls.get(track.owner[1], 0) + int(track.counts.sum())
    sites = [run.losses[id] for id in calls if id in run.losses]
    if main is not None and main.function:
        sites = [site for site in sites if site.function == main.function]
    return max(sites, key=lambda site: calls[site.id], default=None)


def _progress(series: Series, site: Loss | None, run: Run) -> Progress:
    chance = chance_level(run, site) if site else None
    as_variance = site is not None and site.function in GAUSSIAN and chance is not None
    if as_variance and chance is not None:
        series = _variance_left(series, chance)
        chance = 1.0
    values = series.mean
    rows = len(values)
    last = int(series.steps[-1]) - END_FRACTION * float(series.steps[-1] - series.steps[0])
    end_rows = max(END_ROWS, int((series.steps > last).sum()))  # by steps: rows may be rarer later on
    steps, levels = block_levels(
        series.steps.astype(np.float64), values, min(BLOCKS, max(rows // 2, min(rows, FEW_BLOCKS)))
    )
    main = run.main_loss
    start = min(float(values[0]), median(values[:START_ROWS]))  # the first step itself may blow the loss up
    handmade = main if site is None and main is not None and not main.function else None
    by_errors = handmade is not None and of_errors(run, handmade)
    if handmade is not None and chance is None:
        chance = constant_loss(run, handmade) if by_errors else chance_by_hand(run, handmade, start)
    if chance is not None:  # the first few batches may be lucky ones
        start = max(start, min(float(levels[0]), chance))
    return Progress(
        function=site.function if site else (main.function if main else ""),
        start=start,
        end=median(values[-end_rows:]),
        best=float(np.min(levels)),
        noise=stream_noise(values[rows // 2 :]),
        rows=rows,
        end_rows=end_rows,
        last_step=int(series.steps[-1]),
        length=max(run.steps, 1),
        early_peak=float(np.max(series.maximum[:EARLY_ROWS])),
        steps=steps,
        levels=levels,
        chance=chance,
        inside=site is not None and not (main is not None and main.function),
        as_variance=as_variance,
        errors_by_hand=by_errors,
        lowest=float(np.min(series.minimum)),
        loss=site or main,
        players=_players(run),
        contested=has_rivals(run),
    )


def _variance_left(series: Series, chance: float) -> Series:
    """Gaussian negative log-likelihoods L as exp 2(L - chance): above zero, 1 where a constant prediction would be."""
    mean, low, high = (
        np.exp(np.clip(2 * (values - chance), None, MOST_LOG))
        for values in (series.mean, series.minimum, series.maximum)
    )
    return Series(series.steps, series.counts, mean, low, high, series.nonfinite)


def _players(run: Run) -> int:
    """Parties with losses and optimizers of their own, as in adversarial training: what one wins another may lose.

    Several optimizers that share one loss are one player, and so are several losses of one optimizer; but rivals are two, even
    where they share a backward call, or one optimizer that gets a gradient reversed.
    """
    optimizers = {track.owner for track in run.tracks("step") if len(track)}
    calls: dict[object, int] = {}
    for track in run.tracks("train/loss"):
        calls[track.owner] = calls.get(track.owner, 0) + int(track.counts.sum())
    most = max(calls.values(), default=0)
    losses = [owner for owner, count in calls.items() if count >= RIVAL_SHARE * most]
    fewest = 2 if has_rivals(run) else 1
    return max(fewest, min(len(optimizers), len(losses)))


def has_rivals(run: Run) -> bool:
    """Whether some network was trained on what another one made, cut off from it, beside data: a discriminator."""
    for track in run.tracks("adversary"):
        if len(track) and "confirmed" in track.columns:
            seen = track.column("confirmed").finite.mean
            if len(seen) and float(np.median(seen)) >= CONFIRMED:
                return True
    return False


def block_levels(
    steps: NDArray[np.float64], values: NDArray[np.float64], blocks: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of `blocks` consecutive parts of `values` (n,), and the mean step of each: two arrays (blocks,)."""
    parts = np.array_split(np.arange(len(values)), max(1, blocks))
    return (
        np.array([float(np.mean(steps[part])) for part in parts]),
        np.array([float(np.median(values[part])) for part in parts]),
    )


def chance_level(run: Run, site: Loss) -> float | None:
    """The loss of the best constant prediction, from the recorded targets; None where it cannot be known.

    Cross-entropy: the entropy of the classes' frequencies, or ln C where they were not recorded. Binary cross-entropy:
    the entropy of the rate of positives. Squared error: the variance of the targets, and for a Gaussian likelihood half of
    1 + ln σ². Absolute and Huber losses: as recorded.
    """
    if site.reduction != "mean":
        return None
    if site.function in CLASSIFICATION:
        return _class_chance(run, site)
    target = ("loss", site.id)
    if site.function in BINARY:
        rates = run.series(
            "target", target, "mean"
        ).finite.mean  # their mean: the median batch may hold no positive at all
        level = weighted_binary(float(np.mean(rates)) if len(rates) else math.nan, *(site.weights or (1.0,)))
        return level if math.isfinite(level) and level > 0 else None
    if site.function in GAUSSIAN:
        typical = median(run.series("target", target, "std").mean)
        return 0.5 * (1 + 2 * math.log(typical)) if typical > 0 else None
    if site.function in SQUARED:
        deviation = run.series("target", target, "std").finite.mean
        return float(np.median(deviation**2)) if len(deviation) and float(np.median(deviation)) > 0 else None
    return constant_loss(run, site)


def constant_loss(run: Run, loss: Loss) -> float | None:
    """What predicting the mean of each batch loses, where that was recorded."""
    level = median(run.series("train/constant", ("loss", loss.id)).finite.mean)
    return level if level > 0 else None


def weighted_binary(rate: float, weight: float) -> float:
    """Least binary cross-entropy of a constant prediction: of a share `rate` of positives, whose terms count `weight` times.

    The best constant is p = w r / (w r + 1 - r), at which the loss is (w r + 1 - r) H(p).
    """
    total = weight * rate + 1 - rate
    return total * binary_entropy(weight * rate / total)


def _class_chance(run: Run, site: Loss) -> float | None:
    tracks = [track for track in run.tracks("target_classes") if track.owner == ("loss", site.id) and len(track)]
    if tracks:
        counts = np.nansum(
            np.stack([np.nansum(track.mean * track.counts[:, None], axis=0) for track in tracks]), axis=0
        )
        level = entropy(counts * np.array(site.weights) if len(site.weights) == len(counts) else counts)
        return level if math.isfinite(level) and level > 0 else None
    return uniform_cross_entropy(site.classes) if site.classes and site.classes > 1 else None
