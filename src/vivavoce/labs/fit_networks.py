"""Networks whose fit is known by construction: too small, too large for noisy data, right; and what is said of gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vivavoce.labs.baselines_worlds import linear_world, network_world, rule_world
from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.fit_variants import RATE, Fit, assess
from vivavoce.labs.lab import Claim, Context, held
from vivavoce.labs.networks import Recipe
from vivavoce.report.words import number

LARGE, SMALL, AMPLE = (800, 400), 200, 1_200  # examples: of the folds (full, quick), of wrong labels, of a sum
FEW, FITTING, MANY = 2, 8, 64  # hidden units
FITTING_DECAY = 0.3  # weight decay of the network that fits


@dataclass(frozen=True)
class Known:
    """A network on data for which it is known how it fits, and why."""

    name: str
    expected: str
    why: str
    fit: Fit


def networks(context: Context) -> tuple[list[Claim], list[XYPlot]]:
    """The verdicts on networks of known fit, and the folklore of the gap."""
    folds = network_world(context.rng(70), LARGE[context.quick]).examples
    line = linear_world(context.rng(71), AMPLE).examples
    wrong = rule_world(context.rng(72), SMALL).examples
    cases = [
        ("2 units on eight folds", "underfitting", "eight units bend the eight folds, two cannot", folds, Recipe(FEW, RATE)),
        ("64 units on 200 labels, 15 % of them wrong", "overfitting", "4,900 weights learn the wrong ones by heart", wrong, Recipe(MANY, RATE)),
        ("8 units on a weighted sum", "right", "the truth is linear, the noise small, the examples many", line, Recipe(FITTING, RATE, FITTING_DECAY)),
    ]  # fmt: skip
    known = [
        Known(name, expected, why, assess(examples, recipe, context, with_curve=False))
        for name, expected, why, examples, recipe in cases
    ]
    ample = assess(folds, Recipe(MANY, RATE), context, with_curve=False)
    claims = [
        held(f"{case.name}: {case.expected}", _told(case.fit), f"{case.expected}: {case.why}", case.fit.verdict == case.expected)
        for case in known
    ]  # fmt: skip
    return [*claims, *_folklore(ample)], [_plot(known)]


def _told(fit: Fit) -> str:
    helping = [remedy for remedy in fit.remedies if remedy.helps]
    best = helping[0] if helping else fit.remedies[0]
    return f"{fit.verdict}; {best.name} would change {number(float(fit.course.validation[-1].mean()))} by {number(best.change.mean)}"


def _folklore(ample: Fit) -> list[Claim]:
    """64 units where eight would do: a large gap, and yet fewer units do worse and more do not."""
    by_name = {remedy.name: remedy.change for remedy in ample.remedies}
    now = float(ample.course.validation[-1].mean())
    fewer, more = by_name["fewer units"], by_name["more units"]
    gap = f"training {number(float(ample.course.training[-1].mean()))}, validation {number(now)}"
    return [
        held("a gap between training and validation means that the network is too large", f"{gap}; with an eighth of its units {number(now + fewer.mean)}", "lower with fewer units", fewer.high < 0, "64 units where the truth has eight: the gap is there, and yet fewer units are worse."),
        held("a larger network overfits more", f"with four times the units {number(now + more.mean)} instead of {number(now)}", "higher with more units", more.low > 0),
    ]  # fmt: skip


def _plot(known: list[Known]) -> XYPlot:
    lines = []
    for case in known:
        course = case.fit.course
        epochs = course.epochs.astype(np.float64)
        lines.append(Line(f"{case.name}, training", epochs, course.training.mean(axis=1) / case.fit.constant))
        lines.append(Line(f"{case.name}, validation", epochs, course.validation.mean(axis=1) / case.fit.constant))
    note = "Loss as a share of the constant's: both high, both low, or far apart."
    return XYPlot("networks", "Too few units, too many, enough", note, "epoch", "share of the constant's loss", lines, log_y=True)  # fmt: skip
