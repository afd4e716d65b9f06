"""One network and its variants on the same folds: more and fewer units, regularised, stopped early, trained longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.baselines_network import example_losses
from vivavoce.labs.figures import Floats
from vivavoce.labs.lab import Context
from vivavoce.labs.networks import Networks, Recipe
from vivavoce.labs.tables import Examples
from vivavoce.labs.threads import one_thread
from vivavoce.measure.folds import stratified_folds
from vivavoce.measure.learning_curve import Extrapolation, IllBehavedCurveError, extrapolate
from vivavoce.measure.paired import Difference, holm, paired_bootstrap

Rows = NDArray[np.int64]

FOLDS = 5
RATE = 1e-2
EPOCHS = (60, 30)  # full, quick
LOOKS = 20  # looks at the losses on the way
LARGE, BATCHES = 4_000, (64, 256)  # examples from which on the batches are larger
LONGER = 4  # times the epochs
WIDER, NARROWER = 4, 8  # times the units, and the part of them
WIDEST = 512
DECAY, DROPOUT = 1.0, 0.3  # of the regularised variants
LEVEL = 0.05  # of all statements on what would help together
WORTH = 0.02  # share of the loss that a remedy must save to be worth it
MORE_DATA_WORTH = 0.05  # the same for twice the data, which cost more than an option
CURVE_SHARES = (0.1, 0.16, 0.25, 0.4, 0.63, 1.0)  # of the training rows: the sizes of the learning curve


@dataclass(frozen=True)
class Course:
    """Losses of every example at each look: (looks, n), of the networks that trained on it and of the one that did not."""

    epochs: Rows
    training: Floats
    validation: Floats
    fold: Rows

    @property
    def stopped(self) -> tuple[int, Floats]:
        """Index of the best look, and each example's validation loss (n,) at the look that is best for the *other* folds.

        So the choice owes nothing to the example's own luck.
        """
        losses = np.empty(len(self.fold))
        for number in range(FOLDS):
            own = self.fold == number
            losses[own] = self.validation[int(self.validation[:, ~own].mean(axis=1).argmin())][own]
        return int(self.validation.mean(axis=1).argmin()), losses


@dataclass(frozen=True)
class Remedy:
    """What a change would do: the mean validation loss less that of the network as it is. `p` is adjusted by Holm's method."""

    name: str
    kind: str  # "less": against overfitting; "more": against underfitting
    change: Difference
    p: float
    worth: float  # the least saving that counts

    @property
    def helps(self) -> bool:
        """Whether it saves enough, significantly."""
        return self.p <= LEVEL and self.change.mean < -self.worth


@dataclass(frozen=True)
class Curve:
    """A learning curve (sizes (k,), errors (k, folds)), and where it leads; `refused` says why it leads nowhere."""

    sizes: Floats
    errors: Floats
    ahead: Extrapolation | None
    refused: str = ""

    @property
    def saves(self) -> Difference | None:
        """The share of the loss that twice the data would save, with a 90 % interval."""
        if self.ahead is None:
            return None
        now = float(self.ahead.errors[0]) or 1.0
        mean, low, high = (1 - float(part[1]) / now for part in (self.ahead.errors, self.ahead.high, self.ahead.low))
        return Difference(mean, low, high, float("nan"))


@dataclass(frozen=True)
class Fit:
    """How a network fits: its course, the gap at the end, since when, what would help, and the learning curve."""

    course: Course
    recipe: Recipe
    gap: Difference
    gap_since: int | None  # epoch from which on the gap is significant
    worse_since: int | None  # epoch from which on the validation loss is significantly above its best
    constant: float  # loss of the best constant
    remedies: Sequence[Remedy]
    curve: Curve

    @property
    def verdict(self) -> str:
        """overfitting, underfitting, or right: by which kind of change helps most."""
        helping = [remedy for remedy in self.remedies if remedy.helps]
        if not helping:
            return "right"
        best = min(helping, key=lambda remedy: remedy.change.mean)
        return "overfitting" if best.kind == "less" else "underfitting"


@one_thread()
def assess(examples: Examples, recipe: Recipe, context: Context, *, with_curve: bool = True) -> Fit:
    """Train a network and its variants on the same folds, and compare the losses of the same examples."""
    random = context.rng(92)
    strata = examples.y.astype(np.int64) if examples.is_classes else np.zeros(len(examples), np.int64)
    fold = stratified_folds(strata, FOLDS, random)
    epochs = EPOCHS[context.quick]
    variants = {
        "fewer units": replace(recipe, width=max(1, recipe.width // NARROWER)),
        "weight decay": replace(recipe, decay=recipe.decay + DECAY),
        "dropout": replace(recipe, dropout=DROPOUT),
    }
    total = 3 * LOOKS + with_curve * LOOKS
    with context.progress.task("training the network and its variants", total) as advance:
        step = lambda: advance(1)  # noqa: E731
        base, *smaller = _courses(examples, [recipe, *variants.values()], fold, epochs, context.seed, step)
        wide = replace(recipe, width=min(WIDEST, recipe.width * WIDER))
        (wider,) = _courses(examples, [wide], fold, epochs, context.seed + 1, step)
        (longer,) = _courses(examples, [recipe], fold, LONGER * epochs, context.seed + 2, step)
        curve = _learning_curve(examples, recipe, fold, epochs, context, step) if with_curve else Curve(np.empty(0), np.empty((0, 0)), None)  # fmt: skip
    ends = {name: ("less", course.validation[-1]) for name, course in zip(variants, smaller, strict=True)}
    ends["stopping early"] = ("less", base.stopped[1])
    constant = _constant(examples, fold)
    ends["a constant instead"] = ("less", constant)
    ends["more units"] = ("more", wider.validation[-1])
    ends["longer training"] = ("more", longer.validation[-1])
    gap = paired_bootstrap(base.validation[-1] - base.training[-1], random)
    remedies = _remedies(base, ends, random)
    since = _gap_since(base, random), _worse_since(base, random)
    return Fit(base, recipe, gap, *since, float(constant.mean()), remedies, curve)


def _courses(
    examples: Examples, recipes: Sequence[Recipe], fold: Rows, epochs: int, seed: int, step: Callable[[], None]
) -> list[Course]:
    """The course of each recipe over the same folds."""
    rows = [np.flatnonzero(fold != number) for number in range(FOLDS)]
    stack = _networks(examples, rows * len(recipes), [recipe for recipe in recipes for _ in rows], epochs, seed)
    looks = _looks(epochs)
    training = np.zeros((len(recipes), len(looks), len(examples)))
    validation = np.zeros_like(training)
    everything = np.arange(len(examples))
    for place, (_, predictions) in enumerate(stack.course(looks.tolist())):
        for number, given in enumerate(predictions):
            which, part = divmod(number, FOLDS)
            losses = example_losses(examples, everything, given if examples.is_classes else given[:, 0])
            held = fold == part
            validation[which, place, held] = losses[held]
            training[which, place, ~held] += losses[~held] / (FOLDS - 1)
        step()
    return [Course(looks, inside, outside, fold) for inside, outside in zip(training, validation, strict=True)]


def _looks(epochs: int) -> Rows:
    return np.unique(np.linspace(epochs / LOOKS, epochs, LOOKS).round().astype(np.int64))


def _networks(examples: Examples, rows: Sequence[Rows], recipes: Sequence[Recipe], epochs: int, seed: int) -> Networks:
    batch = BATCHES[len(examples) >= LARGE]
    return Networks(examples.x, examples.y, len(examples.classes), rows, recipes, epochs=epochs, batch=batch, seed=seed)


def _gap_since(course: Course, random: np.random.Generator) -> int | None:
    above = [paired_bootstrap(v - t, random, samples=400).low > 0 for v, t in zip(course.validation, course.training, strict=True)]  # fmt: skip
    return _since(course, above)


def _worse_since(course: Course, random: np.random.Generator) -> int | None:
    """The epoch from which on the validation loss lies significantly above that of stopping early."""
    stopped = course.stopped[1]
    return _since(course, [paired_bootstrap(v - stopped, random, samples=400).low > 0 for v in course.validation], after=course.stopped[0])  # fmt: skip


def _since(course: Course, above: Sequence[bool], after: int = 0) -> int | None:
    """The first epoch from which on all looks are `above`; looks before `after` do not count."""
    first = len(above)
    while first > after and above[first - 1]:
        first -= 1
    return int(course.epochs[first]) if first < len(above) else None


def _remedies(base: Course, ends: dict[str, tuple[str, Floats]], random: np.random.Generator) -> list[Remedy]:
    now = base.validation[-1]
    changes = [paired_bootstrap(losses - now, random) for _, losses in ends.values()]
    adjusted = holm([change.p for change in changes]).tolist()
    worth = WORTH * float(now.mean())
    found = [
        Remedy(name, kind, change, p, worth)
        for (name, (kind, _)), change, p in zip(ends.items(), changes, adjusted, strict=True)
    ]
    return sorted(found, key=lambda remedy: remedy.change.mean)


def _constant(examples: Examples, fold: Rows) -> Floats:
    """The validation losses (n,) of the mean, or of the classes' frequencies, of the training rows."""
    losses = np.empty(len(examples))
    for number in range(FOLDS):
        test = np.flatnonzero(fold == number)
        y = examples.y[fold != number]
        value = np.bincount(y.astype(np.int64), minlength=len(examples.classes)) / len(y) if examples.is_classes else np.array(y.mean())  # fmt: skip
        losses[test] = example_losses(examples, test, np.broadcast_to(value, (len(test), *value.shape)))
    return losses


def _learning_curve(
    examples: Examples, recipe: Recipe, fold: Rows, epochs: int, context: Context, step: Callable[[], None]
) -> Curve:
    """Validation losses of networks that see a part of the training rows, each stopped at the best epoch of the others."""
    random = context.rng(93)
    full = [random.permutation(np.flatnonzero(fold != number)) for number in range(FOLDS)]
    sizes = np.unique([max(8, round(share * min(map(len, full)))) for share in CURVE_SHARES])
    rows = [part[:size] for size in sizes.tolist() for part in full]
    stack = _networks(examples, rows, [recipe] * len(rows), epochs, context.seed + 3)
    looks = _looks(epochs)
    losses = np.zeros((len(looks), len(sizes), FOLDS))
    tests = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    for place, (_, predictions) in enumerate(stack.course(looks.tolist())):
        for number, given in enumerate(predictions):
            size, part = divmod(number, FOLDS)
            test = tests[part]
            own = given[test] if examples.is_classes else given[test, 0]
            losses[place, size, part] = example_losses(examples, test, own).mean()
        step()
    errors = np.empty((len(sizes), FOLDS))
    for part in range(FOLDS):
        others = np.delete(losses, part, axis=2).mean(axis=2)
        errors[:, part] = losses[others.argmin(axis=0), np.arange(len(sizes)), part]
    return curve_of(sizes.astype(np.float64), errors, random)


def curve_of(sizes: Floats, errors: Floats, random: np.random.Generator) -> Curve:
    """A learning curve with its extrapolation to twice and four times its largest size, or why there is none."""
    largest = float(sizes[-1])
    try:
        return Curve(sizes, errors, extrapolate(sizes, errors, largest * np.array([1.0, 2.0, 4.0]), random))
    except IllBehavedCurveError as error:
        return Curve(sizes, errors, None, str(error))
