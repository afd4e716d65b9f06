"""The layer × step map: an image with a palette, its legend, and its numbers as a table."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
from numpy.typing import NDArray

from vivavoce.report import words
from vivavoce.report.axes import step_axis
from vivavoce.report.figures import MapPlot, MapRow
from vivavoce.report.markup import Html, element
from vivavoce.report.png import encode
from vivavoce.report.table import table

# Viridis (Smith and van der Walt 2015, public domain), ten anchors; perceptually uniform, readable when colour-blind.
VIRIDIS = ("440154", "482878", "3E4989", "31688E", "26828E", "1F9E89", "35B779", "6DCD59", "B4DE2C", "FDE725")
_LEVELS = 250  # colours of the scale; the indices above mark what is no number
_ZERO, _NONFINITE, _MISSING, _NO_GRADIENT = 250, 251, 252, 253
_ZERO_COLOUR, _NONFINITE_COLOUR = (12, 12, 16), (213, 94, 0)  # near black; Okabe and Ito's vermilion
_NO_GRADIENT_COLOUR = (154, 160, 168)
_QUANTILES = (0.01, 0.99)  # the scale spans these, so that one outlier does not flatten the rest
_FEWEST_DECADES = 2
_LARGEST_POWER = 300  # of ten
_LABELLED_ROWS = 40
_ROW_HEIGHT = 1.25  # rem
_TALLEST = 36.0  # rem


def heat_map(plot: MapPlot, level: int = 3) -> Html:
    """A figure with the map, its colour scale and a table with a row for each parameter."""
    low, high = _range(plot)
    indices = np.stack([_indices(row, low, high) for row in plot.rows])
    return element(
        "figure",
        element("figcaption", element(f"h{level}", plot.title), element("p", plot.note)),
        _legend(plot, low, high),
        _frame(plot, indices, low, high),
        _numbers(plot),
        class_="chart",
        id_=plot.key,
    )


def _range(plot: MapPlot) -> tuple[int, int]:
    """The decades that the colour scale spans."""
    values = np.concatenate([row.values for row in plot.rows])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return -1, 1
    low, high = np.quantile(np.log10(values), _QUANTILES)
    bottom, top = max(math.floor(low), -_LARGEST_POWER), min(math.ceil(high), _LARGEST_POWER)
    missing = _FEWEST_DECADES - (top - bottom)
    return (bottom - (missing + 1) // 2, top + missing // 2) if missing > 0 else (bottom, top)


def _indices(row: MapRow, low: int, high: int) -> NDArray[np.uint8]:
    values = row.values
    positive = np.isfinite(values) & (values > 0)
    logs = np.log10(np.where(positive, values, 1.0))
    scaled = np.clip(np.round((logs - low) / (high - low) * (_LEVELS - 1)), 0, _LEVELS - 1)
    scaled = np.where(values == 0, _ZERO, scaled)
    scaled = np.where(values < 0, _NO_GRADIENT, scaled)
    scaled = np.where(np.isnan(values), _MISSING, scaled)
    return np.where(row.nonfinite | np.isinf(values), _NONFINITE, scaled).astype(np.uint8)


def palette(count: int) -> list[tuple[int, int, int]]:
    """`count` colours from the lowest to the highest of the scale."""
    anchors = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in VIRIDIS], dtype=np.float64)
    places = np.linspace(0, 1, len(anchors))
    levels = np.linspace(0, 1, count)
    colours = np.stack([np.interp(levels, places, anchors[:, channel]) for channel in range(3)], axis=1)
    return [(int(red), int(green), int(blue)) for red, green, blue in np.round(colours)]


def _palette() -> list[tuple[int, int, int]]:
    return [*palette(_LEVELS), _ZERO_COLOUR, _NONFINITE_COLOUR, _NO_GRADIENT_COLOUR, _NO_GRADIENT_COLOUR]


def _frame(plot: MapPlot, indices: NDArray[np.uint8], low: int, high: int) -> Html:
    height = min(_ROW_HEIGHT * len(plot.rows), _TALLEST)
    source = base64.b64encode(encode(indices, _palette(), transparent=_MISSING)).decode("ascii")
    picture = element("img", src=f"data:image/png;base64,{source}", alt=_summary(plot))
    canvas = element(
        "div",
        picture,
        class_="canvas map",
        style=f"height:{height:.2f}rem",
        data_map=_tooltip_data(plot, indices, low, high),
    )
    return element("div", _row_labels(plot, height), canvas, _step_labels(plot), class_="frame wide")


def _summary(plot: MapPlot) -> str:
    failed = [row for row in plot.rows if row.first_nonfinite is not None]
    text = (
        f"Map of the {plot.unit} of {len(plot.rows)} rows of parameters over steps {plot.edges[0]:,} to {plot.last:,}."
    )
    if failed:
        first = min(failed, key=lambda row: row.first_nonfinite or 0)
        text += f" {len(failed)} rows hold NaN or infinity, first {first.name} at step {first.first_nonfinite:,}."
    return text + " The table below has the numbers."


def _row_labels(plot: MapPlot, height: float) -> Html:
    every = -(-len(plot.rows) // _LABELLED_ROWS)
    shared = _shared_prefix([row.name for row in plot.rows])
    labels = [
        element(
            "span",
            element("bdi", row.name[shared:]),
            title=row.name,
            style=f"top:{100 * (index + 0.5) / len(plot.rows):.2f}%",
        )
        for index, row in enumerate(plot.rows)
        if index % every == 0
    ]
    return element("div", *labels, class_="up", aria_hidden="true", style=f"height:{height:.2f}rem")


def _shared_prefix(names: list[str]) -> int:
    """Length of the leading parts, up to a dot, that all names share: they need not be read again in each row."""
    shared = 0
    while len(names) > 1 and (end := names[0].find(".", shared) + 1) and len({name[:end] for name in names}) == 1:
        shared = end
    return shared


def _step_labels(plot: MapPlot) -> Html:
    first, last = int(plot.edges[0]), plot.last
    axis = step_axis(first, last)
    labels = [
        element(
            "span",
            words.number(tick),
            class_="minor" if index % 2 else None,
            style=f"left:{100 * (tick + 0.5 - first) / (last + 1 - first):.2f}%",
        )
        for index, tick in enumerate(axis.ticks)
        if tick <= last
    ]
    return element("div", *labels, element("b", "step"), class_="across", aria_hidden="true")


def _legend(plot: MapPlot, low: int, high: int) -> Html:
    values = np.concatenate([row.values for row in plot.rows])
    entries = [element("span", f"≤ {words.number(10.0**low)}")]
    entries.append(element("i", style=f"background:linear-gradient(90deg,{','.join('#' + code for code in VIRIDIS)})"))
    entries.append(element("span", f"≥ {words.number(10.0**high)} {plot.unit}"))
    keys = [("NaN or infinite", _NONFINITE_COLOUR, any(row.nonfinite.any() for row in plot.rows))]
    keys.append(("exactly 0", _ZERO_COLOUR, bool((values == 0).any())))
    keys.append(("no gradient", _NO_GRADIENT_COLOUR, bool((values < 0).any())))
    for label, colour, present in keys:
        if present:
            block = element("i", class_="key", style=f"background:rgb{colour}")
            entries.append(element("span", block, label, class_="pair"))
    if any((np.isnan(row.values) & ~row.nonfinite).any() for row in plot.rows):
        entries.append(element("span", element("i", class_="key none"), "not recorded", class_="pair"))
    return element("div", *entries, class_="scale", aria_hidden="true")


def _tooltip_data(plot: MapPlot, indices: NDArray[np.uint8], low: int, high: int) -> str:
    cells = base64.b64encode(indices.tobytes()).decode("ascii")
    data = {
        "rows": [words.plain(row.name) for row in plot.rows],
        "edges": plot.edges.tolist(),
        "last": plot.last,
        "cells": cells,
        "low": low,
        "high": high,
        "levels": _LEVELS,
        "marks": {
            str(_ZERO): "0",
            str(_NONFINITE): "NaN or infinite",
            str(_MISSING): "not recorded",
            str(_NO_GRADIENT): "no gradient",
        },
        "unit": plot.unit,
    }
    return json.dumps(data, separators=(",", ":"))


def _numbers(plot: MapPlot) -> Html:
    heads = ["parameter", "first", "median", "highest", "last", "first not finite"]
    content = table(f"{plot.title}: {plot.unit} of each row", heads, map(_numbers_row, plot.rows), kind="numeric")
    return element("details", element("summary", "The numbers as a table"), content, class_="numbers")


def _numbers_row(row: MapRow) -> list[Html | str]:
    finite = row.values[np.isfinite(row.values) & (row.values >= 0)]
    step = "" if row.first_nonfinite is None else f"step {row.first_nonfinite:,}"
    if not len(finite):
        return [row.name, "–", "–", "–", "–", step]
    numbers = (finite[0], np.median(finite), finite.max(), finite[-1])
    return [row.name, *(words.number(float(value)) for value in numbers), step]
