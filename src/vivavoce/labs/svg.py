"""A lab's plot as an SVG file of its own, for pages that have no style sheet of ours: light or dark, as the reader's."""

from __future__ import annotations

import math

from vivavoce.labs.charts import COLOURS, axes, drawing
from vivavoce.labs.figures import MatrixPlot, XYPlot
from vivavoce.report import words
from vivavoce.report.axes import Axis
from vivavoce.report.charts import HEIGHT, WIDTH
from vivavoce.report.markup import Html, element, join

LEFT, TOP, RIGHT, BOTTOM = 64, 64, 24, 56  # margins
SCALE = 0.68  # of the drawing, whose lines keep their width
CELL, HEAD = 56, 96  # of a matrix: the size of a cell, and the room for names
LEGEND_STEP, LETTER = 44, 7.2  # between entries, and the mean width of a letter
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #4d5660 } .name { font-weight: 600 }
.line, .grid { fill: none; vector-effect: non-scaling-stroke; stroke-width: 2px } .grid { stroke: #8883; stroke-width: 1px }
.band { opacity: .2 } .marker, .dots { fill: none; stroke-linecap: round; vector-effect: non-scaling-stroke; stroke-width: 7px }
.dots { stroke-width: 5px } .faint { opacity: .5; stroke-width: 1px } .rest { stroke: #9aa0a8 }
.c0 { stroke: #0072b2 } .c1 { stroke: #d55e00; stroke-dasharray: 7 4 } .c2 { stroke: #009e73; stroke-dasharray: 2 4 }
.c3 { stroke: #b7578c; stroke-dasharray: 10 3 2 3 } .c4 { stroke: #8f6b00; stroke-dasharray: 14 4 } .c5 { stroke: #6b7480 }
.band.c0 { fill: #0072b2 } .band.c1 { fill: #d55e00 } .band.c2 { fill: #009e73 } .band.c3 { fill: #b7578c } .band { stroke: none }
.marker, .dots { stroke-dasharray: none } .mark { stroke: #b84300; stroke-dasharray: 4 3 } .cell { fill: #0072b2 }
@media (prefers-color-scheme: dark) { text { fill: #c3c9d0 } .c0 { stroke: #56b4e9 } .c1 { stroke: #e69f00 } .c2 { stroke: #1fc493 } }
"""


def svg(plot: XYPlot | MatrixPlot) -> str:
    """The plot as an SVG document."""
    body, width, height = _matrix(plot) if isinstance(plot, MatrixPlot) else _lines(plot)
    root = element(
        "svg",
        element("title", plot.title),
        element("style", Html(STYLE)),
        body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        role="img",
    )
    return f"{root}\n"


def _lines(plot: XYPlot) -> tuple[Html, float, float]:
    across, up = axes(plot)
    width, height = SCALE * WIDTH, SCALE * HEIGHT
    inner = element("g", drawing(plot, across, up), transform=f"translate({LEFT},{TOP}) scale({SCALE})")
    parts = [
        _text(LEFT, 18, plot.title, "start", "name"),
        _legend(plot),
        inner,
        *(_text(LEFT + across.at(t) * width, TOP + height + 18, words.number(t), "middle") for t in across.ticks),
        *(_text(LEFT - 8, TOP + (1 - up.at(t)) * height + 4, words.number(t), "end") for t in up.ticks),
        _text(LEFT + width, TOP + height + 40, plot.across, "end"),
        _text(4, TOP - 10, plot.up, "start"),
        *(_mark(across, place, label, width, height) for place, label in plot.marks),
    ]
    return join(*parts), LEFT + width + RIGHT, TOP + height + BOTTOM


def _text(x: float, y: float, words_: str, anchor: str, kind: str | None = None) -> Html:
    return element("text", words_, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _mark(across: Axis, place: float, label: str, width: float, height: float) -> Html:
    share = min(max(across.at(place), 0.0), 1.0)
    x = LEFT + share * width
    line = element("path", class_="mark", d=f"M{x:.1f} {TOP}v{height:.0f}")
    return join(line, _text(x + (4 if share < 0.5 else -4), TOP + 14, label, "start" if share < 0.5 else "end"))


def _legend(plot: XYPlot) -> Html:
    parts = []
    x = float(LEFT)
    for index, line in enumerate(plot.lines):
        kind = f"c{index}" if index < COLOURS else "rest"
        sample = "dots" if line.dots else "line"
        parts.append(element("path", class_=f"{sample} {kind}", d=f"M{x:.0f} 34h{0 if line.dots else 24}"))
        parts.append(_text(x + 30, 38, line.name, "start"))
        x += LEGEND_STEP + LETTER * len(line.name)
    return join(*parts)


def _matrix(plot: MatrixPlot) -> tuple[Html, float, float]:
    parts = [_text(4, 18, plot.title, "start", "name"), _text(HEAD, 44, f"{plot.column_axis} →", "start")]
    parts.append(_text(4, 70, f"{plot.row_axis} ↓", "start"))
    parts += [_text(HEAD + (i + 0.5) * CELL, 70, name, "middle") for i, name in enumerate(plot.columns)]
    for row, name in enumerate(plot.rows):
        y = 80 + row * CELL / 2
        parts.append(_text(HEAD - 8, y + 18, name, "end"))
        for column, text in enumerate(plot.cells[row]):
            shade = float(plot.values[row][column])
            opacity = f"{0.55 * shade if math.isfinite(shade) else 0:.2f}"
            x = HEAD + column * CELL
            size = {"x": f"{x}", "y": f"{y:.0f}", "width": f"{CELL - 2}", "height": f"{CELL / 2 - 2:.0f}"}
            parts.append(element("rect", class_="cell", fill_opacity=opacity, **size))
            parts.append(_text(x + CELL / 2, y + 18, text, "middle"))
    longest = max(HEAD + len(plot.columns) * CELL + RIGHT, LETTER * len(plot.title) + LEFT)
    return join(*parts), longest, 80 + len(plot.rows) * CELL / 2 + 16
