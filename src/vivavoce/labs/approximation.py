"""The lab of question 4: can one hidden layer approximate any continuous function?"""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np

from vivavoce.labs.approximation_network import save
from vivavoce.labs.approximation_proof import (
    WIDTHS,
    errors_by_width,
    outside,
    plane,
    smallest_tanh,
    smallest_widths,
    the_step,
    training_finds_it,
)
from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.inputs import CsvFile, is_file
from vivavoce.labs.lab import Context, Lab, LabError, Option, Result, Table, held
from vivavoce.measure.approximation import HiddenLayer, fit_function, from_path, random_tanh_layer
from vivavoce.measure.expression import Expression, ExpressionError
from vivavoce.measure.jump import Break, certify, find_breaks, widest_gap
from vivavoce.measure.links import fewest_links, smallest_relu_width

FILE_ENDINGS = (".csv", ".tsv", ".txt", ".data")
WIDEST_TANH = 128  # hidden units tried; wider layers are fitted no better in float64
WIDEST_PLANE = 256
PLANE_POINTS = 1_500
CHECKED = 20_001  # points at which the error of a fit is measured
PLOTTED = 1_001
MOST_POINTS = 200_000  # rows of data that are followed; more are thinned evenly


class Approximation(Lab):
    """Finds the smallest hidden layer for a wanted error, or proves that there is none."""

    name = "approximation"
    question = "Can one hidden layer approximate any continuous function?"
    textbook = (
        "Yes, on a closed and bounded domain: for every error there is a width that reaches it (universal approximation). "
        "The theorem says neither how wide, nor that training finds the weights, nor anything beyond the domain."
    )
    input_help = "an expression such as 'sin(8*pi*x)', of x or of x and y, or a CSV file with columns x and y"
    options = (
        Option("error", "Largest error wanted.", float, 0.01, "ERROR"),
        Option("from", "Where the domain begins.", float, 0.0, "X"),
        Option("to", "Where the domain ends.", float, 1.0, "X"),
        Option("x", "Column of x in a CSV file. [default: x, or the first]", metavar="COLUMN"),
        Option("y", "Column of y in a CSV file. [default: y, or the second]", metavar="COLUMN"),
        Option("save", "Save the fitted network there.", metavar="FILE.pt"),
    )
    examples = (
        "viva lab approximation",
        "viva lab approximation 'sin(8*pi*x)' --error 0.01 --save sine.pt",
        "viva lab approximation 'x if x < 0.5 else 1 - x/2'",
        "viva lab approximation measured.csv --error 0.5",
    )

    def prove(self, context: Context) -> Result:
        """Known functions, a step, the world beyond the domain, and training."""
        smooth, width_table, width_plot = errors_by_width(context)
        smallest, smallest_table = smallest_widths(context)
        beyond, beyond_plot = outside(context)
        steps, step_plot = the_step(context)
        claims = [*smooth, *smallest, *steps, beyond, training_finds_it(context)]
        tables = [width_table, smallest_table]
        if not context.quick:
            claim, table = plane(context)
            claims.append(claim)
            tables.append(table)
        answer = (
            "Yes for continuous functions on a bounded domain, and the width needed can be computed; no for a jump, where "
            "half its height remains at every width. Beyond the domain nothing holds, and training need not find the weights."
        )
        return Result(answer, claims, tables, [width_plot, step_plot, beyond_plot], data=_as_data(width_table))

    def apply(self, source: str, context: Context) -> Result:
        """The smallest layer for an expression or for data, or the proof that a jump makes it impossible."""
        error = context.options["error"]
        if not (error > 0 and math.isfinite(error)):
            raise LabError(f"--error must be a positive number, not {error:g}")
        if source.lower().endswith(FILE_ENDINGS) or is_file(source):
            return _for_data(source, context, error)
        low, high = context.options["from"], context.options["to"]
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise LabError(f"the domain must have --from < --to, not {low:g} and {high:g}")
        try:
            expression = Expression(source)
        except ExpressionError as refused:
            raise LabError(f"{source[:80]!r} is neither a file nor an expression: {refused}") from None
        if "y" in expression.variables:
            return _for_plane(expression, context, error)
        return _for_curve(expression, context, error)


def _as_data(table: Table) -> dict[str, object]:
    return {"heads": list(table.heads), "errors": [list(row) for row in table.rows]}


def _for_curve(expression: Expression, context: Context, error: float) -> Result:
    low, high = context.options["from"], context.options["to"]

    def function(x: Floats) -> Floats:
        return expression(x=x)

    _check_finite(function, low, high)
    breaks = find_breaks(function, low, high)
    worst = max(breaks, key=lambda item: item.height, default=None)
    if worst is not None and (worst.kind == "pole" or worst.height / 2 > error):
        return _impossible(expression.text, function, worst, breaks, context, error)
    if worst is not None:
        raise LabError(
            f"{expression.text} jumps by {worst.height:.6g} at x = {worst.left:.12g}: half of that is within the error asked "
            f"for, and the smallest width is only known for continuous functions; give --error below {worst.height / 2:.6g}"
        )
    try:
        smallest = smallest_relu_width(function, low, high, error)
    except ValueError as refused:
        raise LabError(f"{expression.text} on [{low:g}, {high:g}]: {refused}") from None
    relu = from_path(smallest.path)
    x = np.linspace(low, high, CHECKED)
    y = function(x)
    tanh = smallest_tanh(
        lambda width: fit_function(function, low, high, width, seed=context.seed),
        lambda layer: float(np.max(np.abs(layer(x) - y))),
        error,
        WIDEST_TANH,
    )
    bound = f"no fewer than {smallest.at_least}" if smallest.exact else f"between {smallest.at_least} and {relu.width}"
    return _found(f"{expression.text} on [{low:g}, {high:g}]", x, y, relu, tanh, bound, context, error)


def _check_finite(function: object, low: float, high: float) -> None:
    x = np.linspace(low, high, CHECKED)
    values = function(x) if callable(function) else x
    undefined = np.flatnonzero(np.isnan(values))
    if len(undefined):
        place = f"x = {x[undefined[0]]:g}"
        raise LabError(f"the expression has no real value at {place}; choose the domain with --from and --to")


def _found(
    name: str,
    x: Floats,
    y: Floats,
    relu: HiddenLayer,
    tanh: HiddenLayer | None,
    bound: str,
    context: Context,
    error: float,
) -> Result:
    saved = _save(relu, context)
    reached = float(np.max(np.abs(relu(x) - y)))
    claims = [
        held(
            f"{relu.width} ReLU units come within {error:g}",
            f"largest error {reached:.6g}",
            f"≤ {error:g}",
            reached <= error * (1 + 1e-9),
            f"With an affine skip; {bound} units can.",
        )
    ]
    rows = [["ReLU, the smallest there is", str(relu.width), f"{reached:.3g}"]]
    lines = [Line("wanted", *_thinned(x, y)), Line(f"ReLU, {relu.width} units", *_thinned(x, relu(x)))]
    if tanh is not None:
        off = float(np.max(np.abs(tanh(x) - y)))
        rows.append(["tanh, random hidden weights", str(tanh.width), f"{off:.3g}"])
    else:
        rows.append(["tanh, random hidden weights", f"more than {WIDEST_TANH}", "–"])
    table = Table("Hidden layers within the error", ["units", "width", "largest error"], rows)
    plot = XYPlot("fit", "The fit", f"{name}, within {error:g}.", "x", "y", lines)
    answer = (
        f"{relu.width} hidden ReLU units with an affine skip come within {error:g} of {name}; {bound} units can.{saved}"
    )
    data = {
        "units": relu.width,
        "largest_error": reached,
        "tanh_units": tanh.width if tanh else None,
        "corners": (-relu.bias).tolist() if relu.hidden.shape[1] == 1 else [],
    }
    return Result(answer, claims, [table], [plot], data=data)


def _save(layer: HiddenLayer, context: Context) -> str:
    target = context.options["save"]
    if not target:
        return ""
    save(layer, target)
    return f" The network is in {target}; vivavoce.labs.approximation_network.load reads it."


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), PLOTTED)).round().astype(int))
    return x[keep], y[keep]


def _impossible(
    text: str, function: object, worst: Break, breaks: list[Break], context: Context, error: float
) -> Result:
    """The certificate that no continuous network reaches the error."""
    if worst.kind == "pole":
        answer = f"No: {text} grows without bound near x = {worst.left:.12g}, and every network is bounded on a bounded domain."
        claim = held(
            "the function is bounded", f"{abs(worst.after):.2g} near x = {worst.left:.12g}", "finite", False, "A pole."
        )
        return Result(answer, [claim], data={"kind": "pole", "at": worst.left})
    assert callable(function)
    low, high = context.options["from"], context.options["to"]
    bounds = [
        certify(fit_function(function, low, high, width, seed=context.seed), worst).bound
        for width in context.track("fitting networks", WIDTHS)
    ]
    half = worst.height / 2
    answer = (
        f"No: {text} jumps by {worst.height:.6g} at x = {worst.left:.12g}. A continuous network has one value there, so its "
        f"largest error is at least {half:.6g}, whatever its width; you asked for {error:g}."
    )
    claim = held(
        f"some width comes within {error:g}",
        f"{min(bounds):.4g} at best of widths {WIDTHS[0]} … {WIDTHS[-1]}",
        f"≥ {half:.4g} at every width",
        False,
        "max(|g − f before|, |g − f after|) ≥ half the jump, for every continuous g.",
    )
    rows = [[f"{item.left:.12g}", item.kind, f"{item.height:.6g}", f"{item.height / 2:.6g}"] for item in breaks]
    table = Table("Where it is not continuous", ["x", "kind", "height", "no error below"], rows)
    widths = np.array(WIDTHS, dtype=np.float64)
    lines = [Line("largest error, at least", widths, np.array(bounds))]
    lines.append(Line("half the jump", widths, np.full(len(widths), half), faint=True))
    plot = XYPlot("certificate", "The bound", "One evaluation at the jump proves it.", "hidden units", "error", lines, log_x=True)  # fmt: skip
    note = (
        "The mean error still falls with the width; and a network that may jump (a step unit, two networks) can follow."
    )
    data = {"kind": "jump", "at": worst.left, "height": worst.height, "least_error": half, "bounds": bounds}
    return Result(answer, [claim], [table], [plot], [note], data)


def _for_plane(expression: Expression, context: Context, error: float) -> Result:
    low, high = context.options["from"], context.options["to"]
    random = context.rng()
    points, test = random.uniform(low, high, (PLANE_POINTS, 2)), random.uniform(low, high, (CHECKED, 2))
    y, truth = (expression(x=p[:, 0], y=p[:, 1]) for p in (points, test))
    if not (np.isfinite(y).all() and np.isfinite(truth).all()):
        raise LabError(f"{expression.text} is not finite everywhere on [{low:g}, {high:g}]²; choose --from and --to")
    with context.progress.task("fitting", WIDEST_PLANE) as advance:

        def fit(width: int) -> HiddenLayer:
            advance(width / 3)
            return random_tanh_layer(points, y, width, seed=context.seed)

        layer = smallest_tanh(fit, lambda net: float(np.max(np.abs(net(test) - truth))), error, WIDEST_PLANE)
    domain = f"{expression.text} on [{low:g}, {high:g}]²"
    if layer is None:
        answer = f"No width up to {WIDEST_PLANE} with random tanh units came within {error:g} of {domain}; that proves nothing about others."
        return Result(answer, data={"units": None})
    reached = float(np.max(np.abs(layer(test) - truth)))
    answer = f"{layer.width} tanh units come within {error:g} of {domain}.{_save(layer, context)}"
    claim = held(
        f"{layer.width} tanh units come within {error:g}",
        f"largest error {reached:.3g}",
        f"≤ {error:g}",
        reached <= error,
        f"At {CHECKED:,} points that were not fitted. In two variables the smallest width is not known exactly.",
    )
    return Result(answer, [claim], data={"units": layer.width, "largest_error": reached})


def _for_data(source: str, context: Context, error: float) -> Result:
    x, y, note = _read(source, context)
    at, low, high, value = _bounds(x, y, error)
    clash = int(np.argmax(low - high))
    if low[clash] > high[clash]:
        _cannot(source, at[clash], (low[clash] - high[clash]) / 2 + error, error)
    path = fewest_links(at.tolist(), low.tolist(), high.tolist())
    relu = from_path(path)
    bound = f"along the straight lines between the points no fewer than {relu.width}"
    result = _found(source, x, y, relu, _tanh_for(at, value, context, error), bound, context, error)
    notes = [note] if note else []
    if len(at) > 2:
        gap = widest_gap(at, value)
        if gap.suspicious:
            notes.append(
                f"Between x = {gap.left:g} and {gap.right:g} y changes by {gap.height:.4g}, the other rows by {gap.typical:.2g}. "
                f"Points alone cannot prove a jump; if the curve is continuous, its slope there is {gap.slope:.3g} or more, and "
                f"a curve no steeper than elsewhere misses by {gap.least_error:.3g}."
            )
    return Result(result.answer, result.claims, result.tables, result.figures, notes, result.data)


def _cannot(source: str, x: float, least: float, error: float) -> NoReturn:
    raise LabError(
        f"{source}: rows with the same x = {x:g} have values of y so far apart that no function comes within {error:g} of "
        f"all of them; the least possible is {least:.6g}, so give --error {least:.3g} or more"
    )


def _tanh_for(x: Floats, y: Floats, context: Context, error: float) -> HiddenLayer | None:
    if len(x) < 3:
        return None
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), 4_000)).round().astype(int))
    return smallest_tanh(
        lambda width: random_tanh_layer(x[rows], y[rows], width, seed=context.seed),
        lambda layer: float(np.max(np.abs(layer(x) - y))),
        error,
        min(WIDEST_TANH, len(x) // 2),
    )


def _read(source: str, context: Context) -> tuple[Floats, Floats, str]:
    """x and y sorted by x, and a note where rows were left out."""
    table = CsvFile(source)
    if len(table.header) < 2:
        raise LabError(f"{source}: two columns, x and y, are expected; it has {', '.join(table.header)}")
    names = [
        table.column(context.options[axis]) if context.options[axis] else axis if axis in table.header else other
        for axis, other in zip("xy", table.header, strict=False)
    ]
    parts = [(chunk.numbers(names[0]), chunk.numbers(names[1])) for chunk in table.chunks(names, context)]
    if not parts or sum(len(part[0]) for part in parts) < 2:
        raise LabError(f"{source}: at least two rows are needed")
    x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if x[0] == x[-1]:
        raise LabError(f"{source}: {names[0]} is {x[0]:g} in every row; a function needs two different x at least")
    if len(x) <= MOST_POINTS:
        return x, y, ""
    keep = np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int)
    return x[keep], y[keep], f"{len(x):,} rows were thinned evenly to {MOST_POINTS:,}."


def _bounds(x: Floats, y: Floats, error: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Different x, the bounds there, and the middle of the values of y."""
    at, first = np.unique(x, return_index=True)
    top, bottom = np.maximum.reduceat(y, first), np.minimum.reduceat(y, first)
    return at, top - error, bottom + error, (top + bottom) / 2
