"""The lab of question 9: overfitting or underfitting?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vivavoce.labs import fit_proof, fit_run
from vivavoce.labs.baselines_words import interval, unit
from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.fit_networks import networks
from vivavoce.labs.fit_variants import LEVEL, MORE_DATA_WORTH, RATE, WIDEST, Curve, Fit, Remedy, assess
from vivavoce.labs.inputs import open_store
from vivavoce.labs.lab import Claim, Context, Lab, LabError, Option, Result, Table, held
from vivavoce.labs.networks import Recipe
from vivavoce.labs.tables import OPTIONS, Examples, read_examples
from vivavoce.measure.paired import Difference
from vivavoce.report.words import number

STORE_ENDING = ".db"
MOST_ROWS = (8_000, 1_500)  # that are used: full, quick
FEWEST_OF_CLASS = 10  # rows


class Fitting(Lab):
    """Tells too little capacity from too much, and says what would help."""

    name = "fit"
    question = "Overfitting or underfitting?"
    textbook = (
        "Too small a model fits not even the training data; too large a one learns them by heart and fails on new ones. The "
        "gap between training and validation loss tells which. Against overfitting: more data, fewer parameters, "
        "regularisation, early stopping."
    )
    input_help = "a recorded run (.db), or a CSV file on which a network is trained"
    options = (*OPTIONS, Option("width", "Units of each of the network's two hidden layers.", int, 64, "N"))
    examples = ("viva lab fit", "viva lab fit houses.csv --target price", "viva lab fit .viva/run.db")

    def prove(self, context: Context) -> Result:
        """Families of known best capacity, double descent, learning curves of known risk, networks of known fit."""
        capacity, capacity_plots, told = fit_proof.polynomials(context)
        descent, descent_plot, peak = fit_proof.double_descent(context)
        data, data_plot, helped = fit_proof.more_data(context)
        trained, trained_plots = networks(context)
        answer = (
            "Ask what would change: a model underfits where more capacity lowers the validation loss, and overfits where less of "
            "it, regularisation or stopping does. The gap alone says neither. Whether more data would help can be foretold from a "
            "learning curve, and beyond as many parameters as examples the risk falls again."
        )
        claims = [*capacity, *trained, *data, *descent, fit_proof.gap_coverage(context)]
        figures = [*capacity_plots, *trained_plots, data_plot, descent_plot]
        return Result(answer, claims, [fit_proof.table()], figures, data={"polynomials": told, "descent": peak, "data": helped})  # fmt: skip

    def apply(self, source: str, context: Context) -> Result:
        """The fit of a recorded run, or of a network on a table."""
        path = Path(source)
        if not path.is_file():
            raise LabError(f"{source}: no such file; a table (.csv) or a recorded run (.db) is expected")
        if path.suffix == STORE_ENDING:
            return fit_run.report(open_store(path), path.name)
        width = context.options["width"]
        if not 1 <= width <= WIDEST:
            raise LabError(f"--width must lie between 1 and {WIDEST}, not {width}")
        examples = read_examples(source, context, MOST_ROWS[context.quick], FEWEST_OF_CLASS)
        found = assess(examples, Recipe(width, RATE), context)
        return _result(found, examples)


def _result(fit: Fit, examples: Examples) -> Result:
    tables = [_remedies(fit, examples), _sizes(fit.curve, examples)]
    plots = [_course_plot(fit, examples), _curve_plot(fit.curve, examples)]
    return Result(_answer(fit, examples), _claims(fit, examples), tables, plots, list(examples.notes), _data(fit))


def _answer(fit: Fit, examples: Examples) -> str:
    loss, now = unit(examples), float(fit.course.validation[-1].mean())
    verdicts = {
        "right": "fits about as well as these rows allow: none of the changes tried helps",
        "overfitting": "overfits",
        "underfitting": "underfits",
    }
    since = f", since epoch {fit.gap_since}" if fit.gap_since is not None and fit.gap.low > 0 else ""
    helping = [f"{remedy.name} ({interval(remedy.change)})" for remedy in fit.remedies if remedy.helps]
    told = f" What helps, by its change of the {loss}: {', '.join(helping)}." if helping else ""
    return (
        f"A network of two layers of {fit.recipe.width} units {verdicts[fit.verdict]}. Validation {loss} {number(now)}, training "
        f"{number(float(fit.course.training[-1].mean()))}: a gap of {interval(fit.gap)}{since}.{told} {_more_data(fit.curve)}"
    )


def _more_data(curve: Curve) -> str:
    saves = curve.saves
    if saves is None:
        return f"Whether more data would help cannot be said: {curve.refused}."
    twice = f"{100 * saves.mean:.0f} % [{100 * saves.low:.0f}, {100 * saves.high:.0f}] of the loss"
    if saves.mean > MORE_DATA_WORTH:
        sure = "More data will help" if saves.low > 0 else "More data would probably help"
        return f"{sure}: twice as many would save {twice}."
    return f"More data would hardly help: twice as many would save {twice}."


def _claims(fit: Fit, examples: Examples) -> list[Claim]:
    now = float(fit.course.validation[-1].mean())
    best = int(fit.course.epochs[fit.course.stopped[0]])
    worse = f", worse since epoch {fit.worse_since}" if fit.worse_since is not None else ""
    stopping, fewer = (next(r for r in fit.remedies if r.name == name) for name in ("stopping early", "fewer units"))
    claims = [
        held("the network beats a constant", f"{unit(examples)} {number(now)}", f"below {number(fit.constant)}", now < fit.constant),
        held("training and validation loss are alike", f"gap {interval(fit.gap)}", "no gap", not fit.gap.low > 0),
        held("the last epoch is as good as the best", f"best at {best}{worse}; stopping changes {interval(stopping.change)}", "no significant saving", not stopping.helps),
    ]  # fmt: skip
    if fit.gap.low > 0:
        claims.append(held("the gap means that the network is too large", f"fewer units change {interval(fewer.change)}", "a saving", fewer.helps))  # fmt: skip
    return claims


def _remedies(fit: Fit, examples: Examples) -> Table:
    rows = [[remedy.name, interval(remedy.change), f"{remedy.p:.2g}", _outcome(remedy)] for remedy in fit.remedies]
    saves = fit.curve.saves
    if saves is not None:
        now = float(fit.curve.errors[-1].mean())
        change = Difference(-now * saves.mean, -now * saves.high, -now * saves.low, float("nan"))
        rows.append(["twice the data (foretold, 90 %)", interval(change), "–", "helps" if saves.mean > MORE_DATA_WORTH else "hardly"])  # fmt: skip
    about = "95 % intervals of the paired bootstrap, p adjusted by Holm"
    return Table(f"What would change the validation {unit(examples)} ({about})", ["change", "by", "p", ""], rows)


def _outcome(remedy: Remedy) -> str:
    if remedy.helps:
        return "helps"
    return "harms" if remedy.p <= LEVEL and remedy.change.mean > 0 else "no difference shown"


def _sizes(curve: Curve, examples: Examples) -> Table:
    rows = [[f"{int(size):,}", number(float(error)), "measured"] for size, error in zip(curve.sizes, curve.errors.mean(axis=1), strict=True)]  # fmt: skip
    if curve.ahead is not None:
        ends = zip(
            curve.ahead.sizes[1:], curve.ahead.errors[1:], curve.ahead.low[1:], curve.ahead.high[1:], strict=True
        )
        rows += [[f"{int(n):,}", f"{number(float(e))} [{number(float(a))}, {number(float(b))}]", "foretold"] for n, e, a, b in ends]  # fmt: skip
    return Table("Learning curve", ["training rows", unit(examples), ""], rows)


def _course_plot(fit: Fit, examples: Examples) -> XYPlot:
    course = fit.course
    epochs = course.epochs.astype(np.float64)
    lines = [
        Line("training", epochs, course.training.mean(axis=1)),
        Line("validation", epochs, course.validation.mean(axis=1)),
        Line("a constant", epochs[[0, -1]], np.full(2, fit.constant), faint=True),
    ]
    marks = [(float(course.epochs[course.stopped[0]]), "best")]
    note = "Mean over the folds; the validation rows of a fold are those that its network has not seen."
    return XYPlot("course", "Training and validation", note, "epoch", unit(examples), lines, marks=marks)


def _curve_plot(curve: Curve, examples: Examples) -> XYPlot:
    lines = [Line("measured", curve.sizes, curve.errors.mean(axis=1))]
    if curve.ahead is not None:
        ahead = curve.ahead
        lines.append(Line("foretold, 90 % interval", ahead.sizes, ahead.errors, ahead.low, ahead.high))
    note = "Networks that see a part of the rows, each stopped at its best epoch." + (f" Not extrapolated: {curve.refused}." if curve.refused else "")  # fmt: skip
    return XYPlot("learning-curve", "Would more data help?", note, "training rows", unit(examples), lines, log_x=True)


def _data(fit: Fit) -> dict[str, object]:
    saves = fit.curve.saves
    return {
        "verdict": fit.verdict,
        "validation": float(fit.course.validation[-1].mean()),
        "training": float(fit.course.training[-1].mean()),
        "constant": fit.constant,
        "gap": [fit.gap.mean, fit.gap.low, fit.gap.high],
        "gap_since": fit.gap_since,
        "worse_since": fit.worse_since,
        "changes": {r.name: {"change": [r.change.mean, r.change.low, r.change.high], "p": r.p, "helps": r.helps} for r in fit.remedies},
        "twice_the_data_saves": [saves.mean, saves.low, saves.high] if saves else None,
        "sizes": fit.curve.sizes,
        "errors": fit.curve.errors,
    }  # fmt: skip
