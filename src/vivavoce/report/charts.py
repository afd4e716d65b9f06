"""Line plots as HTML and SVG.

The SVG holds only lines, stretched to the width at hand with strokes that keep their width; labels are HTML, so that
they stay readable at every width.
"""

from __future__ import annotations

import itertools
import json

import numpy as np

from vivavoce.record.tracks import Floats, Series
from vivavoce.report import words
from vivavoce.report.axes import Axis, step_axis, value_axis
from vivavoce.report.figures import Curve, LinePlot
from vivavoce.report.markup import Html, element, join
from vivavoce.report.reduce import bucketed
from vivavoce.report.table import Column, data_table

WIDTH, HEIGHT = 1000, 300  # of the view box; the size on the page is the style sheet's
POINTS_IN_TOOLTIP = 200
ROWS_IN_TABLE = 20
MARKERS_PER_CURVE = 8
CURVES_IN_TABLE = 8
START_AT_ZERO = 0.05  # of the axis: a gap this small before the first row does not move the axis off zero


def line_plot(plot: LinePlot, level: int = 3) -> Html:
    """A figure: title at heading `level`, legend, plot, and the numbers as a table."""
    first, last = _steps(plot)
    scales = [False, True] if plot.both_scales else [plot.log]
    frames = [_frame(plot, first, last, log) for log in scales]
    return element(
        "figure",
        element("figcaption", element(f"h{level}", plot.title), element("p", plot.note) if plot.note else None),
        _switch(plot) if plot.both_scales else None,
        _legend(plot),
        *frames,
        data_table(
            f"{plot.title}: mean (lowest to highest) over ranges of steps", "steps", _columns(plot, first, last)
        ),
        class_="chart",
        id_=plot.key,
    )


def _steps(plot: LinePlot) -> tuple[int, int]:
    filled = [curve.series.steps for curve in plot.curves if len(curve.series)]
    first, last = min(int(steps[0]) for steps in filled), max(int(steps[-1]) for steps in filled)
    return (0 if first <= START_AT_ZERO * last else first), last


def _switch(plot: LinePlot) -> Html:
    """Radio buttons that work without JavaScript: the style sheet shows the frame of the chosen scale."""
    choices = []
    for scale, log in (("linear", False), ("log", True)):
        name = f"{plot.key}-scale"
        button = element(
            "input", type_="radio", name=name, id_=f"{name}-{scale}", class_=f"pick-{scale}", checked=plot.log is log
        )
        label = element("label", "linear" if scale == "linear" else "logarithmic", for_=f"{name}-{scale}")
        choices.append(join(button, label))
    return element("fieldset", element("legend", "Scale"), *choices, class_="switch")


def _frame(plot: LinePlot, first: int, last: int, log: bool) -> Html:
    across = step_axis(first, last)
    up = _value_axis(plot, log)
    lines = join(*(_curve(curve, across, up) for curve in plot.curves))
    drawing = element(
        "svg",
        grid(across, up),
        lines,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        aria_hidden="true",
        focusable="false",
    )
    canvas = element(
        "div",
        _shading(plot, across, up),
        drawing,
        _marks(plot, across),
        class_="canvas",
        role="img",
        aria_label=_summary(plot),
        data_curves=_tooltip_data(plot, across, up),
    )
    return element(
        "div",
        element("div", plot.unit, class_="unit") if plot.unit else None,
        _up_labels(plot, up),
        canvas,
        _across_labels(across),
        class_=f"frame {'log' if log else 'linear'}",
    )


def _value_axis(plot: LinePlot, log: bool) -> Axis:
    if plot.fraction:
        return Axis(-0.02, 1.02, False, (0.0, 0.25, 0.5, 0.75, 1.0))
    parts = [values for curve in plot.curves for values in (curve.series.minimum, curve.series.maximum)]
    values = np.concatenate(parts)
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if plot.guide:
        values = np.append(values, plot.guide[:2])
    if not len(values):
        values = np.array([0.1, 1.0])
    return value_axis(float(values.min()), float(values.max()), log)


def grid(across: Axis, up: Axis) -> Html:
    """The lines at the labelled values of two axes, in a drawing of `WIDTH` × `HEIGHT`."""
    down = " ".join(f"M{_x(across, tick):.1f} 0V{HEIGHT}" for tick in across.ticks)
    level = " ".join(f"M0 {_y(up, tick):.1f}H{WIDTH}" for tick in up.ticks)
    return element("path", class_="grid", d=f"{level} {down}")


def _x(axis: Axis, value: float) -> float:
    return axis.at(value) * WIDTH


def _y(axis: Axis, value: float) -> float:
    return (1 - axis.at(value)) * HEIGHT


def _curve(curve: Curve, across: Axis, up: Axis) -> Html:
    series = curve.series
    colour = "rest" if curve.colour is None else f"c{curve.colour}"
    x = across.position(series.steps.astype(np.float64)) * WIDTH
    y = (1 - up.position(series.mean)) * HEIGHT
    faint = " faint" if curve.faint else ""
    parts = [element("path", class_=f"line {colour}{faint}", d=line_path(x, y, curve.stairs))]
    if curve.band and (series.minimum < series.maximum).any():
        parts.insert(0, _band(series, x, up, colour))
    if curve.colour is not None and not curve.faint:
        parts.append(element("path", class_=f"marker {colour}", d=marker_path(x, y)))
    return join(*parts)


def line_path(x: Floats, y: Floats, stairs: bool) -> str:
    """Path data that leaves gaps where a value is not finite; a point alone becomes a dot."""
    data = []
    pen_down = False
    for across, down in zip(x.tolist(), np.clip(y, 0, HEIGHT).tolist(), strict=True):
        if down != down:  # NaN
            pen_down = False
        elif not pen_down:
            data.append(f"M{across:.1f} {down:.1f}h0")
            pen_down = True
        else:
            data.append(f"H{across:.1f}V{down:.1f}" if stairs else f"L{across:.1f} {down:.1f}")
    return "".join(data)


def _band(series: Series, x: Floats, up: Axis, colour: str) -> Html:
    low = (1 - up.position(series.minimum)) * HEIGHT
    high = (1 - up.position(series.maximum)) * HEIGHT
    shown = np.isfinite(low) & np.isfinite(high)
    edge = [*zip(x[shown], high[shown], strict=True), *zip(x[shown][::-1], low[shown][::-1], strict=True)]
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in edge)
    return element("polygon", class_=f"band {colour}", points=points)


def marker_path(x: Floats, y: Floats) -> str:
    """Path data of a few dots on a curve of shape (n,), which tell it from others without colour."""
    shown = np.flatnonzero(np.isfinite(y))
    if len(shown) > MARKERS_PER_CURVE:
        shown = shown[np.linspace(0, len(shown) - 1, MARKERS_PER_CURVE).astype(int)]
    return "".join(f"M{x[row]:.1f} {y[row]:.1f}h0" for row in shown)


def _shading(plot: LinePlot, across: Axis, up: Axis) -> Html:
    parts = []
    if plot.guide:
        low, high, label = plot.guide
        top, bottom = 100 * (1 - up.at(high)), 100 * (1 - up.at(low))
        parts.append(element("div", label, class_="guide", style=f"top:{top:.2f}%;height:{bottom - top:.2f}%"))
    if plot.span:
        left, right = (100 * min(max(across.at(step), 0.0), 1.0) for step in plot.span)
        parts.append(element("div", class_="span", style=f"left:{left:.2f}%;width:{right - left:.2f}%"))
    return join(*parts)


def _marks(plot: LinePlot, across: Axis) -> Html:
    parts = []
    for step, label in plot.marks:
        place = min(max(across.at(step), 0.0), 1.0)
        side = " left" if place > 0.5 else ""
        parts.append(element("div", element("span", label), class_=f"mark{side}", style=f"left:{100 * place:.2f}%"))
    return join(*parts)


def _up_labels(plot: LinePlot, axis: Axis) -> Html:
    write = words.percent if plot.fraction else words.number
    labels = (element("span", write(tick), style=f"top:{100 * (1 - axis.at(tick)):.2f}%") for tick in axis.ticks)
    return element("div", *labels, class_="up", aria_hidden="true")


def _across_labels(axis: Axis) -> Html:
    labels = [
        element(
            "span", words.number(tick), class_="minor" if index % 2 else None, style=f"left:{100 * axis.at(tick):.2f}%"
        )
        for index, tick in enumerate(axis.ticks)
    ]
    return element("div", *labels, element("b", "step"), class_="across", aria_hidden="true")


def _legend(plot: LinePlot) -> Html:
    entries = [_legend_entry(curve) for curve in plot.curves if curve.colour is not None]
    grey = sum(curve.colour is None for curve in plot.curves)
    if grey:
        sample = element("path", class_="line rest", d="M0 5H28")
        entries.append(element("li", swatch(sample), f"{grey} others"))
    return element("ul", *entries, class_="legend")


def _legend_entry(curve: Curve) -> Html:
    sample = element("path", class_=f"line c{curve.colour}{' faint' if curve.faint else ''}", d="M0 5H28")
    marker = None if curve.faint else element("path", class_=f"marker c{curve.colour}", d="M14 5h0")
    return element("li", swatch(join(sample, marker)), curve.name)


def swatch(content: Html) -> Html:
    """A sample of a curve for the legend."""
    return element("svg", content, viewBox="0 0 28 10", class_="swatch", aria_hidden="true", focusable="false")


def _summary(plot: LinePlot) -> str:
    """What the plot shows, in words, for those who do not see it."""
    told = [curve for curve in plot.curves if curve.colour is not None][:CURVES_IN_TABLE]
    parts = [f"{curve.name} from {_end(curve, 0)} to {_end(curve, -1)}" for curve in told if len(curve.series)]
    return f"Line plot of {plot.title.lower()} over steps: " + "; ".join(parts) + ". The table below has the numbers."


def _end(curve: Curve, row: int) -> str:
    return words.number(float(curve.series.mean[row]))


def _tooltip_data(plot: LinePlot, across: Axis, up: Axis) -> str:
    """A few hundred points of each coloured curve: name, colour, step, position and written value, as JSON."""
    curves = []
    for curve in plot.curves:
        if curve.colour is None or curve.faint or not len(curve.series):
            continue
        series = curve.series
        if len(series) > POINTS_IN_TOOLTIP:
            series = bucketed(series, int(series.steps[0]), int(series.steps[-1]), POINTS_IN_TOOLTIP)[1]
        y = 1 - up.position(series.mean)
        curves.append(
            {
                "name": words.plain(curve.name),
                "colour": curve.colour,
                "steps": series.steps.tolist(),
                "y": [round(value, 3) if value == value else None for value in y.tolist()],
                "values": [words.percent(v) if plot.fraction else words.number(v) for v in series.mean.tolist()],
            }
        )
    return json.dumps({"first": across.low, "last": across.high, "curves": curves}, separators=(",", ":"))


def _columns(plot: LinePlot, first: int, last: int) -> list[Column]:
    told = [curve for curve in plot.curves if curve.colour is not None and not curve.faint][:CURVES_IN_TABLE]
    count = min(ROWS_IN_TABLE, last - first + 1)
    return [Column(curve.name, *_cells(curve.series, first, last, count, plot.fraction)) for curve in told]


def _cells(series: Series, first: int, last: int, count: int, fraction: bool) -> tuple[list[str], list[str]]:
    write = words.percent if fraction else words.number
    numbers, reduced = bucketed(series, first, last, count)
    edges = first + -(-np.arange(count + 1) * (last - first + 1) // count)
    labels = [f"{a:,}" if b - a <= 1 else f"{a:,}–{b - 1:,}" for a, b in itertools.pairwise(edges.tolist())]
    cells = [""] * count
    for row, number in enumerate(numbers.tolist()):
        mean, low, high = (float(v[row]) for v in (reduced.mean, reduced.minimum, reduced.maximum))
        cells[number] = write(mean) if low == high or mean != mean else f"{write(mean)} ({write(low)} to {write(high)})"
        if reduced.nonfinite[row]:
            cells[number] += f", {reduced.nonfinite[row]:,} not finite"
    return labels, cells
