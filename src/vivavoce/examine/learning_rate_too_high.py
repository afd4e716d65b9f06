"""learning-rate-too-high: the steps are so large that they undo what was learned."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.exploding_gradients import sensitive_start
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Severity
from vivavoce.examine.maximised import maximised
from vivavoce.examine.progress import BINARY, CLASSIFICATION, LEARNED, SIGNIFICANT, Progress
from vivavoce.examine.reading import (
    Weights,
    finished,
    first_nonfinite,
    learning_rate,
    stepped_optimizers,
    weights_of,
    where,
    with_rate,
)
from vivavoce.examine.sensitivity import ADAPTIVE, first_update
from vivavoce.examine.underfitting import DECAY
from vivavoce.examine.units import shares
from vivavoce.examine.unshuffled_data import sorted_or_repeating
from vivavoce.examine.vanishing_gradients import FEWEST_LAYERS
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run

LARGE = 0.1  # ‖Δw‖/‖w‖ of the median weight (TheDeepChecker and DeepDiagnosis: above 0.1)
SHRINKING = frozenset({"Adagrad"})  # whose first steps change each weight by the whole rate, whatever its gradient
ADAMS = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax"})
LARGE_RATE = 0.05  # of them; in use: 1e-5 … 1e-2
GUESSED = 0.9  # fraction of chance level
REPLACED = 1.0  # ‖Δw‖/‖w‖: a step as large as the weights themselves throws the initialisation away
HUGE = 0.3  # ‖Δw‖/‖w‖ that needs no loss beside it
SUSPECT = 0.01  # ‖Δw‖/‖w‖: ten times the usual 1e-3; enough only where the loss went up
USUAL = 3e-3  # ‖Δw‖/‖w‖ aimed at by the remedy; measured on healthy networks: 2e-4 … 2e-2
EARLY = 5  # samples: one step of the right (wrong) size is enough to ruin a network
SATURATED = 0.8  # fraction of a module's outputs, before the first step: then the initialisation is to blame
POOR = 0.1  # fraction of the loss that is left: updates this large keep a network from doing better
JUMP = 10.0  # times the first loss: what a first step of the wrong size makes of it
MOST = 0.5  # of the run
THROWN = 3.0  # times chance level: a classifier that is worse was thrown there
UNLEARNED = 0.5  # fraction of the reference loss that had been reached before all of it was lost again
UNTOLD = 1.5  # times chance level: where a network begins that says the same of every example
VANISHED = 1e-5  # of the last layer's gradient: what the first layers do not get is no matter of the rate
WARMED = 1.5  # times the rate that the optimizer was made with: a schedule raised it
KNOWN, ABOVE = 0.8, 1.1  # times chance level: below, something was learned; above, it was lost and more
WORSE = 2.0  # times its best level (TheDeepChecker: ≥ 2 × minimum is diverging)


class LearningRateTooHigh(Detector):
    """Updates out of proportion to the weights, and a loss that suffered from them."""

    slug = "learning-rate-too-high"
    question = 6
    passing = True
    explains = ("exploding-gradients", "gradient-spikes", "non-finite", "dead-units", "saturated-units",
                "guessing", "underfitting", "stopped-too-early", "oscillating-loss", "vanishing-gradients",
                "class-ignored", "label-noise", "capacity-too-small", "always-clipped", "mode-collapse", "discriminator-dominates", "generator-dominates")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Large updates and harm together; either alone is not enough."""
        if maximised(run) is not None:
            yield RuledOut(self.slug, "the loss is maximised: it rises at every learning rate")
            return
        sizes = {}
        for candidate in stepped_optimizers(run):
            weights = weights_of(run, candidate)
            sizes_seen = [largest_update(weights, candidate)] if weights else []
            if candidate.class_name not in SHRINKING or not weights:
                sizes_seen.append(first_update(run, candidate))
            known = [size for size in sizes_seen if math.isfinite(size)]
            known = known or [first_update(run, candidate, highest_rate=True)]
            size = max(known, default=math.nan) - 2 * decay_update(candidate)
            if math.isfinite(size) and size > 0:
                sizes[candidate.id] = size
        if not sizes:
            return
        optimizer = run.optimizers[max(sizes, key=lambda id: sizes[id])]
        largest = sizes[optimizer.id]
        if sensitive_start(run, optimizer):
            yield RuledOut(self.slug, "the gradient was out of proportion before the first update")
            return
        if _pulled_to_zero(optimizer) and largest < HUGE and first_nonfinite(run) is None:
            yield RuledOut(self.slug, "the weight decay pulls the weights to zero, and beside those any step is large")
            return
        if largest < HUGE and first_nonfinite(run) is None and (share := _vanished(run, optimizer)) < VANISHED:
            yield RuledOut(
                self.slug, f"the first layer received {share:.1e} of the last one's gradient before the first update"
            )
            return
        stuck = [
            share
            for share in shares(run, "activation_saturated")
            if share.initial >= SATURATED and share.late >= SATURATED
        ]
        if stuck:
            yield RuledOut(self.slug, f"{stuck[0].module.name} was saturated before the first update")
            return
        progress = Progress.of(run)
        if largest < HUGE and progress is not None and sorted_or_repeating(run, progress):
            yield RuledOut(self.slug, "what the loss lost again, the order of the examples explains")
            return
        harm, severity = _harm(run, progress, largest)
        if not harm and progress is not None and _shaken(run, optimizer) and _gained_nothing(progress):
            harm, severity = (
                "the network did not get over such steps: for most of the run nothing was gained over guessing",
                "warning",
            )
        if harm:
            yield _finding(run, optimizer, largest, harm, severity)
        else:
            yield RuledOut(self.slug, f"a step changed the weights by {largest:.1e} of their size at most")


def _vanished(run: Run, optimizer: Optimizer) -> float:
    """‖g‖/‖w‖ of the first layer over that of the last, at the first sampled step; 1 where that is not known."""
    weights = weights_of(run, optimizer)
    if weights is None or not len(weights.steps) or int(weights.steps[0]) > 1:
        return 1.0
    known = [value for value in weights.relative[0] if np.isfinite(value) and value > 0]
    return float(known[0] / known[-1]) if len(known) >= FEWEST_LAYERS else 1.0


def _shaken(run: Run, optimizer: Optimizer) -> bool:
    """Several steps were large, and so is the rate, of an optimizer whose rate is the change of each weight."""
    weights, rates = weights_of(run, optimizer), run.series("learning_rate", ("optimizer", optimizer.id)).finite
    if weights is None or not len(rates) or optimizer.class_name not in ADAMS:
        return False
    return float(rates.maximum.max()) >= LARGE_RATE and int((weights.typical_update >= LARGE).sum()) > 1


def _gained_nothing(progress: Progress) -> bool:
    """The loss of a classification ends just below chance level, or was there for most of the run and is not far below."""
    chance = progress.chance
    if chance is None or not progress.guessable or not progress.had_room:
        return False
    stood = float((progress.levels > GUESSED * chance).mean()) > MOST
    return progress.end > GUESSED * chance or (stood and progress.remaining > UNLEARNED)


def largest_update(weights: Weights, optimizer: Optimizer) -> float:
    """The largest of the median update ratios of the first samples, or a later level that lasted; NaN if unknown."""
    typical = weights.typical_update * _unripe(weights, optimizer)
    known = typical[np.isfinite(typical)]
    if not len(known):
        return float("nan")
    early = np.median if optimizer.class_name in SHRINKING else np.max
    first = float(early(known[:EARLY]))
    return first if _pulled_to_zero(optimizer) else max(first, float(np.median(known)))


def _pulled_to_zero(optimizer: Optimizer) -> bool:
    """A decay that an optimizer takes for a gradient of full size: in time any step is large beside what is left of the weights."""
    decay = max((float(group.get("weight_decay") or 0) for group in optimizer.groups), default=0.0)
    return decay >= DECAY and optimizer.class_name in ADAPTIVE - {"AdamW"}


def _unripe(weights: Weights, optimizer: Optimizer) -> NDArray[np.float64]:
    """What makes up for RMSprop's mean square that starts at zero (Adam corrects it by itself): √(1 − αᵗ) at step t."""
    if optimizer.class_name != "RMSprop":
        return np.ones(len(weights.steps))
    alpha = max((float(group.get("alpha") or 0) for group in optimizer.groups), default=0.99)
    return np.asarray(np.sqrt(1 - alpha ** weights.steps.astype(np.float64)))


def decay_update(optimizer: Optimizer) -> float:
    """‖Δw‖/‖w‖ that weight decay alone brings about once the weights follow it: η·λ/(1 − momentum)."""
    rate = learning_rate(optimizer) or 0.0
    group = max(optimizer.groups, key=lambda group: float(group.get("weight_decay") or 0), default={})
    momentum = min(float(group.get("momentum") or 0), 0.999)
    return rate * float(group.get("weight_decay") or 0) / (1 - momentum)


def _harm(run: Run, progress: Progress | None, largest: float) -> tuple[str, Severity]:
    """What the loss suffered, in words; "" where nothing that these updates explain."""
    broken = first_nonfinite(run)
    if broken is not None and largest >= LARGE and not (largest < HUGE and _singular(run, progress)):
        return f"values stopped being finite at step {broken:,}", "critical"
    if progress is not None and progress.players > 1 and largest >= HUGE:
        return "in a game of two networks neither can follow such steps", "warning"
    if progress is not None and not progress.bounded and largest >= REPLACED:
        return "nothing of the initialisation is left", "warning"
    if progress is None or not progress.bounded:
        return "", "note"
    highest = max(progress.early_peak, float(progress.levels.max()))
    if largest >= REPLACED and progress.remaining > UNLEARNED and (finished(run) or not progress.falling):
        return f"{progress.remaining:.0%} of the loss is left in the end", "warning"
    course = f"from {progress.start:.3g} to {progress.end:.3g}"
    certain = (
        progress.function in CLASSIFICATION | BINARY
    )  # the targets of others may move, in reinforcement learning say
    if progress.rose and largest >= (SUSPECT if certain else LARGE):
        return f"the loss rose {course}", "critical"
    told = progress.noise < progress.reference  # else the first loss is one draw of many sizes
    if largest >= LARGE and not progress.learned and told and progress.had_room and not progress.falling:
        return f"the loss did not fall below what it takes to show learning ({course})", "critical"
    if largest >= LARGE and progress.remaining > POOR and highest > JUMP * progress.start:
        return (
            f"the loss jumped from {progress.start:.3g} to {highest:.3g} and came down only to {progress.end:.3g}",
            "warning",
        )
    thrown = _thrown(progress) if largest >= LARGE else 0.0
    if thrown > MOST or (thrown > 0 and progress.remaining > UNLEARNED and not progress.falling):
        return f"the loss rose to {highest:.3g}, more than {THROWN:g} times what guessing gives", "warning"
    if largest >= LARGE and progress.remaining > UNLEARNED and (lost := _unlearned(progress)):
        return lost, "warning"
    if progress.as_variance:
        return "", "note"  # single examples far out decide such a likelihood
    if largest >= SUSPECT and progress.best < UNLEARNED * progress.reference and progress.end > progress.reference:
        return (
            f"the loss had fallen to {progress.best:.3g} and is back at {progress.end:.3g}: all was lost again",
            "critical",
        )
    climb = progress.end - progress.best
    much = max(SIGNIFICANT * progress.error, LEARNED * progress.reference)
    if largest >= LARGE and progress.end > WORSE * progress.best and climb > much:
        return f"the loss climbed back from {progress.best:.3g} to {progress.end:.3g}", "warning"
    return "", "note"


def _thrown(progress: Progress) -> float:
    """The fraction of the run that a classifier spent far above chance level, though it began near it."""
    chance = progress.chance
    if chance is None or progress.function not in CLASSIFICATION | BINARY or progress.start > UNTOLD * chance:
        return 0.0
    return float((progress.levels > THROWN * chance).mean())


def _unlearned(progress: Progress) -> str:
    """That a classifier had learned, and was worse than guessing afterwards, in words; "" where it was not."""
    if progress.chance is None or progress.function not in CLASSIFICATION | BINARY:
        return ""
    best = int(np.argmin(progress.levels))
    lowest, later = float(progress.levels[best]), float(progress.levels[best:].max())
    if lowest > KNOWN * progress.chance or later < ABOVE * progress.chance:
        return ""
    return f"the loss had fallen to {lowest:.3g} and rose to {later:.3g}, above what guessing gives ({progress.chance:.3g})"


def _singular(run: Run, progress: Progress | None) -> bool:
    """What broke first was a gradient, in an operation whose derivative is not finite everywhere, and the loss had not risen."""
    first = min(run.events("non-finite"), key=lambda event: event.step, default=None)
    calm = progress is not None and not progress.rose
    return calm and first is not None and first.data.get("what") == "gradient" and bool(first.data.get("detail"))


def _finding(run: Run, optimizer: Optimizer, largest: float, harm: str, severity: Severity) -> Finding:
    rate = learning_rate(optimizer)
    better = rate * USUAL / largest if rate else None
    rates = run.series("learning_rate", ("optimizer", optimizer.id)).finite
    highest = float(rates.maximum.max()) if len(rates) else rate
    momentum = max((float(group.get("momentum") or 0) for group in optimizer.groups), default=0.0)
    extra = f" and momentum {momentum:g}" if momentum > 0.95 else ""
    size = (
        f"a single step changed the weights by {largest:.0%}"
        if largest < 10
        else f"a single step changed the weights {largest:,.0f}-fold"
    )
    warmed = rate is not None and highest is not None and highest > WARMED * rate
    at_rate = f"At a learning rate of {f'up to {highest:.2g}' if warmed else f'{rate:g}'}{extra} " if rate else ""
    why = f"{at_rate}{size} of their size (usual: 0.1 to 1 %), and {harm}."
    remedies = (
        [Remedy("lower-learning-rate", "lower the learning rate", with_rate(optimizer, better))] if better else []
    )
    return Finding(
        slug=LearningRateTooHigh.slug,
        severity=severity,
        confidence=0.92 if largest >= LARGE else 0.75,
        question=LearningRateTooHigh.question,
        title="The learning rate is too high",
        why=why[0].upper() + why[1:],
        where=where(optimizer.site, first_step=1, last_step=run.steps),
        evidence=(
            Evidence(
                "update ratio ‖Δw‖/‖w‖, median weight",
                largest,
                "",
                LARGE,
                "TheDeepChecker (log10 > −1), DeepDiagnosis (> 0.1)",
            ),
            *((Evidence("learning rate", highest if warmed else rate),) if rate and highest else ()),
        ),
        remedies=(
            *remedies,
            Remedy(
                "warm-up",
                "begin with small steps",
                "torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=100)",
            ),
        ),
    )
