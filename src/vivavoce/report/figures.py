"""What a plot is: plain data, picked from a run by `plots` and drawn by `charts` and `heatmap`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.record.tracks import Floats, Integers, Series


@dataclass(frozen=True)
class Curve:
    """A line: its name, its rows, and how it is drawn.

    `band` also fills the space between minimum and maximum; `faint` draws it in the background; `stairs` holds each
    value until the next. `colour` is an index into the palette, None for grey.
    """

    name: str
    series: Series
    colour: int | None
    band: bool = False
    faint: bool = False
    stairs: bool = False


@dataclass(frozen=True)
class LinePlot:
    """Curves over steps. `unit` names the vertical axis; `guide` is a range of values to shade, with its label."""

    key: str
    title: str
    note: str
    unit: str
    curves: tuple[Curve, ...]
    log: bool = False
    both_scales: bool = False
    fraction: bool = False
    guide: tuple[float, float, str] | None = None
    span: tuple[int, int] | None = None  # steps to shade
    marks: tuple[tuple[int, str], ...] = ()  # (step, label)


@dataclass(frozen=True)
class MapRow:
    """A row of the map: a parameter, or several neighbours of a large network together."""

    name: str
    values: Floats  # shape (columns,); NaN where nothing was recorded, −1 where there was no gradient
    nonfinite: NDArray[np.bool_]  # shape (columns,)
    first_nonfinite: int | None


@dataclass(frozen=True)
class MapPlot:
    """A map of parameters × steps. `edges` are the first steps of the columns, shape (columns,)."""

    key: str
    title: str
    note: str
    unit: str
    rows: tuple[MapRow, ...]
    edges: Integers
    last: int


Plot = LinePlot | MapPlot


@dataclass(frozen=True)
class Plots:
    """The plots of a report: those that always stand there, and one (or None) for each finding, in their order."""

    general: tuple[Plot, ...] = ()
    by_finding: tuple[LinePlot | None, ...] = ()
