"""What a lab plots: plain data, drawn by `charts` into a page and by `svg` into files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A line, or dots, of shape (n,) with x in rising order; `low` and `high` (n,) are the ends of its band.

    NaN leaves a gap. Raises ValueError for shapes that differ and x that falls.
    """

    name: str
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    dots: bool = False
    faint: bool = False

    def __post_init__(self) -> None:
        shapes = {np.shape(part) for part in (self.x, self.y, self.low, self.high) if part is not None}
        if len(shapes) != 1 or len(np.shape(self.x)) != 1:
            raise ValueError(
                f"{self.name}: x, y, low and high must have one shape (n,), got {sorted(map(str, shapes))}"
            )
        if (np.diff(self.x) < 0).any():
            raise ValueError(f"{self.name}: x must not fall")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{self.name}: a band needs low and high")


@dataclass(frozen=True)
class XYPlot:
    """Lines over a common axis. `across` and `up` name the axes, with units; `marks` are (x, label)."""

    key: str  # its id on the page and the stem of its file: letters, digits, hyphens
    title: str
    note: str
    across: str
    up: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    marks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class MatrixPlot:
    """A matrix with named rows and columns, shape (rows, columns), shaded by `values`; `cells` are what is written.

    `row_axis` and `column_axis` say what rows and columns are: "real class", "predicted class".
    """

    key: str
    title: str
    note: str
    row_axis: str
    column_axis: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Floats  # in [0, 1], the shade; NaN for none
    cells: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ImagePlot:
    """A picture of numbers, shape (height, width), first row at the bottom, over two axes with (low, high)."""

    key: str
    title: str
    note: str
    across: str
    up: str
    unit: str
    values: Floats
    x_range: tuple[float, float]
    y_range: tuple[float, float]


@dataclass(frozen=True)
class Pixels:
    """Pictures as they are: uint8, shape (height, width, channels) or, for a film, (frames, height, width, channels).

    Channels are 1 (grey), 3 (RGB) or 4 (RGB and opacity); `words` says in words what is to be seen; `across` and `up`
    what changes along the two directions, if anything; a frame lasts `milliseconds`.
    """

    key: str
    title: str
    note: str
    words: str
    pixels: NDArray[np.uint8]
    across: str = ""
    up: str = ""
    milliseconds: int = 120


Figure = XYPlot | MatrixPlot | ImagePlot | Pixels
