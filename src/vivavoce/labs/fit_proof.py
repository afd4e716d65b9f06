"""Known truth for question 9: capacities, interpolation, learning curves and networks whose fit is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.fit_cases import DEGREES, FOLDS, NOISE, Polynomial, linear_case, polynomial
from vivavoce.labs.fit_variants import MORE_DATA_WORTH, WORTH, curve_of
from vivavoce.labs.lab import Claim, Context, Table, held
from vivavoce.measure.folds import stratified_folds
from vivavoce.measure.paired import gap_bootstrap, paired_bootstrap
from vivavoce.measure.ridgeless import expected_risk, least_norm
from vivavoce.report.words import number

POLYNOMIAL_ROWS = 150
DIAGNOSED = 0.01  # level at which a capacity is called wrong: its rivals are the best of many
POLYNOMIALS = (20, 6)  # cases: full, quick
RIGHT_BAR = 0.9  # share of known cases that must be told rightly
CHOICE_BAR = 1.15  # times the least possible error, that of cross-validation's choice in the median case
DATA_CASES = (40, 20)
DESCENT_ROWS, DESCENT_FEATURES = 40, 160
DESCENT_WIDTHS = (5, 10, 20, 28, 32, 36, 38, 40, 42, 44, 48, 56, 70, 90, 120, 160)
DESCENT_RUNS = (200, 60)
DESCENT_NOISE = 0.25
DESCENT_BAR = 1.25  # factor between the measured mean and the closed form, away from the peak
FAR = 8  # widths from n: nearer, the risk's own variance is infinite and no mean settles
RELU_INPUTS = 8
COVERAGE_RUNS = (1_000, 200)
COVERAGE_BAR = (0.93, 0.97)


@dataclass(frozen=True)
class Capacity:
    """One polynomial case: the exact best degree, the degree that cross-validation chooses, and each degree's losses."""

    case: Polynomial
    exact: Floats  # excess risk by degree, (degrees,)
    inside: list[Floats]
    outside: list[Floats]

    @property
    def best(self) -> int:
        """The index among `DEGREES` of the least exact risk."""
        return int(self.exact.argmin())

    @property
    def chosen(self) -> int:
        """The index of the least cross-validated loss."""
        return int(np.argmin([losses.mean() for losses in self.outside]))

    def diagnosis(self, place: int, random: np.random.Generator) -> str:
        """What the data say of one of `DEGREES`: is one below or one above it significantly better?"""
        errors = np.sqrt(self.outside)  # near interpolation the squares have no variance to speak of
        means = errors.mean(axis=1)
        gains = {"right": 0.0}
        for name, others in (("overfitting", range(place)), ("underfitting", range(place + 1, len(means)))):
            rival = min(others, key=lambda other: float(means[other]), default=None)
            if rival is None:
                continue
            change = paired_bootstrap(errors[rival] - errors[place], random, samples=1_000)
            if change.p <= DIAGNOSED and change.mean < -WORTH * means[place]:
                gains[name] = change.mean
        return min(gains, key=lambda name: gains[name])


def polynomials(context: Context) -> tuple[list[Claim], list[XYPlot], dict[str, float]]:
    """Is the right capacity found, and too little and too much told apart?"""
    random, cases = context.rng(60), []
    right = dict.fromkeys(("underfitting", "right", "overfitting"), 0)
    for _ in context.track("polynomials of every degree", range(POLYNOMIALS[context.quick])):
        found = _capacity(random)
        cases.append(found)
        known = {"underfitting": max(0, found.best - 2), "right": found.best, "overfitting": len(DEGREES) - 1}
        for name, place in known.items():
            right[name] += found.diagnosis(place, random) == name
    share = sum(right.values()) / (3 * len(cases))
    ratios = [(c.exact[c.chosen] + NOISE**2) / (c.exact[c.best] + NOISE**2) for c in cases]
    told = ", ".join(f"{name} {count} of {len(cases)}" for name, count in right.items())
    claims = [
        held(
            "too little, right and too much capacity are told apart",
            f"{100 * share:.0f} %: {told}",
            f"at least {100 * RIGHT_BAR:.0f} % of polynomials of known best degree",
            share >= RIGHT_BAR,
        ),
        held(
            "cross-validation chooses a good capacity",
            f"× {np.median(ratios):.3f} the least possible error (worst × {max(ratios):.2f})",
            f"at most × {CHOICE_BAR}, in the median case",
            float(np.median(ratios)) <= CHOICE_BAR,
        ),
        _training_says_nothing(cases),
    ]
    return claims, [_capacity_plot(cases[0])], {"right": share, "worst_choice": float(max(ratios))}


def _capacity(random: np.random.Generator) -> Capacity:
    case = polynomial(random, POLYNOMIAL_ROWS)
    fold = stratified_folds(np.zeros(POLYNOMIAL_ROWS, np.int64), FOLDS, random)
    losses = [case.held_out(degree, fold) for degree in DEGREES]
    exact = np.array([case.fitted(degree) for degree in DEGREES])
    return Capacity(case, exact, [inside for inside, _ in losses], [outside for _, outside in losses])


def _training_says_nothing(cases: list[Capacity]) -> Claim:
    lowest = sum(int(np.argmin([part.mean() for part in case.inside])) == case.best for case in cases)
    return held(
        "the lowest training loss shows the best model",
        f"in {lowest} of {len(cases)} cases",
        "in most",
        lowest > len(cases) / 2,
        "It falls with every degree.",
    )


def _capacity_plot(found: Capacity) -> XYPlot:
    degrees = np.array(DEGREES, dtype=np.float64)
    inside, outside = (np.array([part.mean() for part in parts]) for parts in (found.inside, found.outside))
    lines = [
        Line("training", degrees, inside),
        Line("cross-validation", degrees, outside),
        Line("exact", degrees, found.exact + NOISE**2),
    ]
    note = f"Least squares polynomials on {POLYNOMIAL_ROWS} points with noise of variance {NOISE**2:g}: left of the best degree too stiff, right of it too supple."
    best, chosen = float(DEGREES[found.best]), float(DEGREES[found.chosen])
    marks = [(best, "best"), (chosen, "chosen")] if best != chosen else [(best, "best, and chosen")]
    return XYPlot("capacity", "Error and capacity", note, "degree", "mean squared error", lines, log_y=True, marks=marks)  # fmt: skip


def double_descent(context: Context) -> tuple[list[Claim], XYPlot, dict[str, float]]:
    """Ridgeless least squares over its number of features: the closed form, the measured risk, and the ridge's."""
    random, n, d = context.rng(61), DESCENT_ROWS, DESCENT_FEATURES
    runs = DESCENT_RUNS[context.quick]
    measured, ridged = np.zeros((2, len(DESCENT_WIDTHS), runs))
    for run in context.track("double descent", range(runs)):
        beta = random.standard_normal(d)
        beta /= np.linalg.norm(beta)
        x = random.standard_normal((n, d))
        y = x @ beta + np.sqrt(DESCENT_NOISE) * random.standard_normal(n)
        for place, width in enumerate(DESCENT_WIDTHS):
            for found, ridge in ((measured, 0.0), (ridged, best_ridge(width))):
                off = beta.copy()
                off[:width] -= least_norm(x[:, :width], y, ridge)
                found[place, run] = off @ off + DESCENT_NOISE
    exact = np.array([expected_risk(n, w, w / d, 1 - w / d, DESCENT_NOISE) for w in DESCENT_WIDTHS])
    mean, tamed = measured.mean(axis=1), ridged.mean(axis=1)
    far = np.abs(np.array(DESCENT_WIDTHS) - n) >= FAR
    worst = float(np.max(np.exp(np.abs(np.log(mean[far] / exact[far])))))
    peak = DESCENT_WIDTHS[int(np.median(measured, axis=1).argmax())]
    under = float(mean[np.array(DESCENT_WIDTHS) < n].min())
    relu_peak, relu = _random_relu(context)
    claims = [
        held("the closed form of the risk", f"at most × {worst:.2f} off", f"× 1, away from width n (up to × {DESCENT_BAR} by sampling)", worst <= DESCENT_BAR),
        held("the risk peaks where the features are as many as the examples", f"at {peak} features of {d}", f"n = {n}", abs(peak - n) <= 2),
        held("so does that of random ReLU features without a ridge", f"at width {relu_peak}", f"n = {n}", abs(relu_peak - n) <= 4),
        Claim(
            "more parameters than examples overfit",
            f"risk {number(float(np.median(measured, axis=1).max()))} at the peak, {number(float(mean[-1]))} at {d} features",
            "higher and higher",
            "holds only when",
            "the parameters are about as many as the examples: beyond that the risk falls again",
            f"The lowest below n is {number(under)}.",
        ),
        held("the peak is a fact of nature", f"{number(float(tamed.max()))} at most with the best ridge, {number(float(mean[np.abs(np.array(DESCENT_WIDTHS) - n) <= 2].max()))} without", "with a ridge, too", bool(np.argmax(tamed) == np.argmax(mean)), "With the right ridge more features never cost anything here."),
    ]  # fmt: skip
    widths = np.array(DESCENT_WIDTHS, dtype=np.float64)
    lines = [
        Line("measured, no ridge", widths, mean),
        Line("closed form", widths, np.where(np.isfinite(exact), exact, np.nan)),
        Line("measured, best ridge", widths, tamed),
        Line("random ReLU features, no ridge", widths, relu),
    ]
    note = f"{n} examples. Without a ridge the risk is infinite at width n and falls again beyond it."
    plot = XYPlot("double-descent", "Double descent", note, "features", "expected squared error", lines, log_y=True, marks=[(float(n), "n examples")])  # fmt: skip
    return claims, plot, {"peak": float(peak), "relu_peak": float(relu_peak), "worst_factor": worst}


def best_ridge(width: int) -> float:
    """The ridge of the least risk for weights that are drawn alike: the variance left over that of a weight."""
    return DESCENT_FEATURES * (1 - width / DESCENT_FEATURES + DESCENT_NOISE)


def _random_relu(context: Context) -> tuple[int, Floats]:
    """The risk of random ReLU features over their number, by a large test set: the width of its peak, and (widths,)."""
    random, n = context.rng(62), DESCENT_ROWS
    risks = np.zeros((DESCENT_RUNS[context.quick] // 4, len(DESCENT_WIDTHS)))
    for run in context.track("random ReLU features", range(len(risks))):
        direction = random.standard_normal(RELU_INPUTS) / np.sqrt(RELU_INPUTS)
        x = random.standard_normal((n + 400, RELU_INPUTS))
        y = np.abs(x @ direction) + np.sqrt(DESCENT_NOISE) * random.standard_normal(len(x))
        hidden = random.standard_normal((RELU_INPUTS + 1, DESCENT_FEATURES)) / np.sqrt(RELU_INPUTS)
        features = np.maximum(np.column_stack([x, np.ones(len(x))]) @ hidden, 0)
        for place, width in enumerate(DESCENT_WIDTHS):
            weights = least_norm(features[:n, :width], y[:n])
            risks[run, place] = np.mean((features[n:, :width] @ weights - y[n:]) ** 2)
    middle = np.median(risks, axis=0)
    return DESCENT_WIDTHS[int(middle.argmax())], middle


def more_data(context: Context) -> tuple[list[Claim], XYPlot, dict[str, float]]:
    """Would twice the data help? Asked of learning curves measured on the data at hand, where the answer is known."""
    random, total = context.rng(63), DATA_CASES[context.quick]
    right, covered, shown = 0, 0, None
    for number_ in context.track("would more data help?", range(total)):
        helps = number_ % 2 == 0
        case = linear_case(random, helps)
        sizes, errors = case.curve(random)
        curve = curve_of(sizes.astype(np.float64), errors, random)
        saves = curve.saves
        right += saves is not None and (saves.mean > MORE_DATA_WORTH) == helps
        if curve.ahead is not None:
            covered += bool(curve.ahead.low[1] <= case.risk(round(2 * sizes[-1])) <= curve.ahead.high[1])
        shown = (case, curve) if shown is None else shown
    share = right / total
    claim = held(
        "“more data will help” can be said beforehand",
        f"right in {right} of {total}",
        f"in {100 * RIGHT_BAR:.0f} %: a tenth of the error saved or more, or next to nothing",
        share >= RIGHT_BAR,
        "From the learning curve of the data at hand, extrapolated as a + b·n^−c to twice their number.",
    )
    assert shown is not None
    case, curve = shown
    lines = [
        Line("measured", curve.sizes, curve.errors.mean(axis=1)),
        Line("exact", curve.sizes, np.array([case.risk(int(size)) for size in curve.sizes])),
    ]
    if curve.ahead is not None:
        ahead = curve.ahead
        lines.append(Line("foretold, 90 % interval", ahead.sizes, ahead.errors, ahead.low, ahead.high))
        lines.append(
            Line("exact, further on", ahead.sizes, np.array([case.risk(round(float(s))) for s in ahead.sizes]))
        )
    note = "A linear model whose exact risk is known for any number of examples."
    plot = XYPlot("learning-curve", "A learning curve, and what it foretells", note, "training examples", "mean squared error", lines, log_x=True)  # fmt: skip
    return [claim], plot, {"right": share, "covered": covered / total}


def gap_coverage(context: Context) -> Claim:
    """How often the interval of the generalisation gap holds the true gap, of skew losses."""
    random, runs = context.rng(64), COVERAGE_RUNS[context.quick]
    covered = 0
    for _ in context.track("coverage of the gap's interval", range(runs)):
        found = gap_bootstrap(random.exponential(size=300), 1.3 * random.exponential(size=80), random, samples=500)
        covered += found.low <= 0.3 <= found.high
    share = covered / runs
    low, high = COVERAGE_BAR if runs >= 1_000 else (0.9, 1.0)
    return held("the 95 % interval of a gap holds the true one 95 times in 100", f"{100 * share:.1f} % of {runs:,}", f"{100 * low:.0f} % to {100 * high:.0f} %", low <= share <= high)  # fmt: skip


def table() -> Table:
    """What the known cases are."""
    rows = [
        ["polynomials", "Chebyshev coefficients up to a random degree, zero beyond", "exact, by orthonormality"],
        ["features without a ridge", "linear model, some features not used", "exact, Belkin, Hsu & Xu 2020"],
        ["learning curves", "linear model with few or many features for its examples", "exact, the same formula"],
        ["networks", "folds that two units cannot bend, wrong labels that 64 units learn by heart", "by construction"],
    ]
    return Table("Where the truth is known", ["family", "what", "risk"], rows, numeric=False)
