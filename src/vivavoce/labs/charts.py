"""The figures of a lab as HTML, with the axes, colours and tables of the reports."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence

import numpy as np

from vivavoce.labs.figures import Figure, Floats, ImagePlot, Line, MatrixPlot, Pixels, XYPlot
from vivavoce.labs.pictures import film
from vivavoce.report import words
from vivavoce.report.axes import Axis, value_axis
from vivavoce.report.charts import HEIGHT, WIDTH, grid, line_path, marker_path, swatch
from vivavoce.report.heatmap import VIRIDIS, palette
from vivavoce.report.markup import Html, element, join
from vivavoce.report.png import encode
from vivavoce.report.table import table

COLOURS = 6  # of the palette; further lines are grey
POINTS_IN_TOOLTIP = 200
ROWS_IN_TABLE = 20
WIDEST_MATRIX = 40  # classes that fit on a page as a table; above, the matrix becomes a picture
IMAGE_LEVELS = 250
QUANTILES = (0.01, 0.99)  # of a picture's values: the colours span these, so that one outlier does not flatten the rest


def chart(figure: Figure, level: int = 3) -> Html:
    """A figure with its title at heading `level`."""
    if isinstance(figure, Pixels):
        body = [_pixels(figure)]
    elif isinstance(figure, XYPlot):
        body = [_legend(figure), _frame(figure), _numbers(figure)]
    elif isinstance(figure, MatrixPlot) and len(figure.columns) <= WIDEST_MATRIX:
        body = [_matrix(figure)]
    else:
        body = _picture(_as_image(figure) if isinstance(figure, MatrixPlot) else figure)
    caption = element("figcaption", element(f"h{level}", figure.title), element("p", figure.note))
    return element("figure", caption, *body, class_="chart", id_=figure.key)


def _pixels(figure: Pixels) -> Html:
    """The pictures in their own colours, as wide as there is room for."""
    source = base64.b64encode(png(figure)).decode("ascii")
    image = element("img", src=f"data:image/png;base64,{source}", alt=figure.words)
    labels = [
        element("span", text)
        for text in (figure.up and f"{figure.up} ↓", figure.across and f"{figure.across} →")
        if text
    ]
    return element("div", *(element("p", *labels, class_="about") for _ in labels[:1]), image, class_="pixels")


def png(figure: Pixels) -> bytes:
    """The pictures as a PNG file, an animated one for a film."""
    frames = figure.pixels if figure.pixels.ndim == 4 else figure.pixels[None]
    return film(frames, figure.milliseconds)


def axes(plot: XYPlot) -> tuple[Axis, Axis]:
    """The horizontal and the vertical axis, wide enough for every line, band and mark."""
    x = [line.x for line in plot.lines] + [np.array([place for place, _ in plot.marks])]
    y = [part for line in plot.lines for part in (line.y, line.low, line.high) if part is not None]
    return _axis(x, plot.log_x), _axis(y, plot.log_y)


def _axis(parts: Sequence[Floats], log: bool) -> Axis:
    values = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(values):
        values = np.array([0.1, 1.0])
    return value_axis(float(values.min()), float(values.max()), log)


def colour(index: int) -> str:
    """The class of the style sheet for the line of this index."""
    return f"c{index}" if index < COLOURS else "rest"


def drawing(plot: XYPlot, across: Axis, up: Axis) -> Html:
    """Grid and lines in a drawing of `WIDTH` × `HEIGHT`, coloured by classes."""
    return join(grid(across, up), *(_line(line, index, across, up) for index, line in enumerate(plot.lines)))


def _line(line: Line, index: int, across: Axis, up: Axis) -> Html:
    x, y = across.position(line.x) * WIDTH, (1 - up.position(line.y)) * HEIGHT
    if line.dots:
        shown = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        return element("path", class_=f"dots {colour(index)}", d="".join(f"M{x[i]:.1f} {y[i]:.1f}h0" for i in shown))
    x = np.where(np.isfinite(x), x, 0.0)
    parts = [element("path", class_=f"line {colour(index)}{' faint' if line.faint else ''}", d=line_path(x, y, False))]
    if line.low is not None and line.high is not None:
        parts.insert(0, _band(x, up, line.low, line.high, colour(index)))
    if index < COLOURS and not line.faint:
        parts.append(element("path", class_=f"marker {colour(index)}", d=marker_path(x, y)))
    return join(*parts)


def _band(x: Floats, up: Axis, low: Floats, high: Floats, kind: str) -> Html:
    bottom, top = ((1 - up.position(part)) * HEIGHT for part in (low, high))
    shown = np.isfinite(bottom) & np.isfinite(top)
    edge = [*zip(x[shown], top[shown], strict=True), *zip(x[shown][::-1], bottom[shown][::-1], strict=True)]
    return element("polygon", class_=f"band {kind}", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in edge))


def _frame(plot: XYPlot) -> Html:
    across, up = axes(plot)
    svg = element(
        "svg",
        drawing(plot, across, up),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        aria_hidden="true",
        focusable="false",
    )
    canvas = element(
        "div",
        svg,
        _marks(plot, across),
        class_="canvas",
        role="img",
        aria_label=_summary(plot),
        data_curves=_tooltip(plot, across, up),
    )
    return _framed(plot.up, canvas, _up_labels(up), _across_labels(across, plot.across))


def _framed(unit: str, canvas: Html, up: Html, across: Html) -> Html:
    return element("div", element("div", unit, class_="unit"), up, canvas, across, class_="frame")


def _marks(plot: XYPlot, across: Axis) -> Html:
    parts = []
    for place, label in plot.marks:
        at = min(max(across.at(place), 0.0), 1.0)
        side = " left" if at > 0.5 else ""
        parts.append(element("div", element("span", label), class_=f"mark{side}", style=f"left:{100 * at:.2f}%"))
    return join(*parts)


def _up_labels(axis: Axis) -> Html:
    labels = (element("span", words.number(t), style=f"top:{100 * (1 - axis.at(t)):.2f}%") for t in axis.ticks)
    return element("div", *labels, class_="up", aria_hidden="true")


def _across_labels(axis: Axis, name: str) -> Html:
    labels = [
        element("span", words.number(t), class_="minor" if i % 2 else None, style=f"left:{100 * axis.at(t):.2f}%")
        for i, t in enumerate(axis.ticks)
    ]
    return element("div", *labels, element("b", name), class_="across named", aria_hidden="true")


def _legend(plot: XYPlot) -> Html:
    entries = []
    for index, line in enumerate(plot.lines):
        kind = colour(index)
        sample = element(
            "path", class_=f"{'dots' if line.dots else 'line'} {kind}", d="M14 5h0" if line.dots else "M0 5H28"
        )
        marker = (
            None
            if line.dots or line.faint or index >= COLOURS
            else element("path", class_=f"marker {kind}", d="M14 5h0")
        )
        entries.append(element("li", swatch(join(sample, marker)), line.name))
    return element("ul", *entries, class_="legend")


def _summary(plot: XYPlot) -> str:
    parts = [f"{line.name} from {_end(line, 0)} to {_end(line, -1)}" for line in plot.lines if len(line.x)]
    told = "; ".join(parts[:COLOURS])
    return f"Plot of {plot.title.lower()}, {plot.up} over {plot.across}: {told}. The table below has the numbers."


def _end(line: Line, row: int) -> str:
    return words.number(float(line.y[row]))


def _picked(n: int, most: int) -> list[int]:
    return sorted(set(np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist())) if n else []


def _tooltip(plot: XYPlot, across: Axis, up: Axis) -> str:
    """A few hundred points of each coloured line: places along the axis (powers of ten on a logarithmic one)."""
    curves = []
    for index, line in enumerate(plot.lines[:COLOURS]):
        rows = _picked(len(line.x), POINTS_IN_TOOLTIP)
        x = line.x[rows]
        keep = np.isfinite(across.position(x))
        x, y = x[keep], line.y[rows][keep]
        places = np.clip(1 - up.position(y), 0, 1).tolist()
        curves.append(
            {
                "name": words.plain(line.name),
                "colour": index,
                "steps": (np.log10(x) if across.log else x).tolist(),
                "y": [round(value, 3) if value == value else None for value in places],
                "values": [words.number(value) for value in y.tolist()],
            }
        )
    first, last = (math.log10(end) if across.log else end for end in (across.low, across.high))
    curves = [curve for curve in curves if curve["steps"]]
    data = {"first": first, "last": last, "across": words.plain(plot.across), "log": across.log, "curves": curves}
    return json.dumps(data, separators=(",", ":"))


def _numbers(plot: XYPlot) -> Html:
    """Each line's own points, at most `ROWS_IN_TABLE` of them, one line after the other."""
    rows = []
    for line in plot.lines[:COLOURS]:
        for row in _picked(len(line.x), ROWS_IN_TABLE):
            cells = [words.number(float(line.x[row])), words.number(float(line.y[row]))]
            if line.low is not None and line.high is not None:
                cells[1] += f" ({words.number(float(line.low[row]))} to {words.number(float(line.high[row]))})"
            rows.append([line.name, *cells])
    content = table(plot.title, ["line", plot.across, plot.up], rows, kind="numeric")
    return element("details", element("summary", "The numbers as a table"), content, class_="numbers")


def _matrix(plot: MatrixPlot) -> Html:
    head = element(
        "tr", element("td", f"{plot.row_axis} ↓"), *(element("th", name, scope="col") for name in plot.columns)
    )
    over = element(
        "tr", element("td"), element("th", f"{plot.column_axis} →", colspan=len(plot.columns), scope="colgroup")
    )
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            *(_cell(value, text) for value, text in zip(shades.tolist(), texts, strict=True)),
        )
        for name, shades, texts in zip(plot.rows, plot.values, plot.cells, strict=True)
    ]
    caption = element("caption", f"Rows: {plot.row_axis}. Columns: {plot.column_axis}.")
    content = element("table", caption, element("thead", over, head), element("tbody", *rows), class_="matrix")
    return element("div", content, class_="scroll", role="region", aria_label=plot.title, tabindex=0)


def _cell(value: float, text: str) -> Html:
    if not math.isfinite(value):
        return element("td", text)
    return element("td", text, style=f"--shade:{100 * min(max(value, 0.0), 1.0):.0f}%")


def _as_image(plot: MatrixPlot) -> ImagePlot:
    height, width = plot.values.shape
    return ImagePlot(
        plot.key,
        plot.title,
        f"{plot.note} Row {height} is at the bottom.",
        f"{plot.column_axis}, number",
        f"{plot.row_axis}, number",
        "",
        plot.values[::-1],
        (0.5, width + 0.5),
        (height + 0.5, 0.5),
    )


def _picture(plot: ImagePlot) -> list[Html]:
    finite = plot.values[np.isfinite(plot.values)]
    low, high = np.quantile(finite, QUANTILES) if len(finite) else (0.0, 1.0)
    source = base64.b64encode(image_bytes(plot.values, float(low), float(high))).decode("ascii")
    summary = f"Picture of {plot.title.lower()}: {plot.up} over {plot.across}."
    canvas = element("div", element("img", src=f"data:image/png;base64,{source}", alt=summary), class_="canvas map")
    scale = element(
        "div",
        element("span", f"≤ {words.number(float(low))}"),
        element("i", style=f"background:linear-gradient(90deg,{','.join('#' + code for code in VIRIDIS)})"),
        element("span", f"≥ {words.number(float(high))} {plot.unit}"),
        class_="scale",
        aria_hidden="true",
    )
    up = _up_labels(_plain_axis(plot.y_range))
    return [scale, _framed(plot.up, canvas, up, _across_labels(_plain_axis(plot.x_range), plot.across))]


def _plain_axis(ends: tuple[float, float]) -> Axis:
    """An axis without margins, which may fall."""
    low, high = sorted(ends)
    ticks = tuple(tick for tick in value_axis(low, high, False).ticks if low <= tick <= high)
    return Axis(ends[0], ends[1], False, ticks)


def image_bytes(values: Floats, low: float, high: float) -> bytes:
    """A PNG of `values` (height, width), first row at the bottom, coloured from `low` to `high`; NaN is transparent."""
    span = (high - low) or 1.0
    scaled = np.clip((np.nan_to_num(values, nan=low) - low) / span, 0, 1) * (IMAGE_LEVELS - 1)
    indices = np.where(np.isfinite(values), np.round(scaled), IMAGE_LEVELS).astype(np.uint8)[::-1]
    return encode(indices, [*palette(IMAGE_LEVELS), (0, 0, 0)], transparent=IMAGE_LEVELS)
