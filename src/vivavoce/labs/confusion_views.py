"""A confusion matrix as tables and figures. The axes are always named: rows real, columns predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vivavoce.labs.figures import Floats, Line, MatrixPlot, XYPlot
from vivavoce.labs.lab import Table
from vivavoce.measure.confusion import ConfusionMatrix
from vivavoce.measure.confusion_labels import ConfidentJoint
from vivavoce.measure.confusion_scores import (
    NORMALISATIONS,
    Normalisation,
    Rate,
    Scores,
    normalised,
    top_confusions,
)

TITLES: dict[Normalisation, str] = {
    "none": "Confusion matrix: counts",
    "real": "Shares of the real class (rows sum to 1)",
    "predicted": "Shares of the predicted class (columns sum to 1)",
    "all": "Shares of all examples",
}
MOST_CONFUSIONS = 100
MOST_SUSPECTS = 200


def percent(share: float) -> str:
    """A share to a tenth of a percent, which tells 99.5 % from all: "99.5 %"; a dash for NaN."""
    return "–" if share != share else f"{100 * share:.1f} %"


def interval(rate: Rate, index: int) -> str:
    """A share with its interval: "93.1 % (92.8 to 93.4)"; a dash where there is none."""
    value, low, high = (float(part[index]) for part in (rate.value, rate.low, rate.high))
    if value != value:
        return "–"
    return f"{percent(value)} ({100 * low:.1f} to {100 * high:.1f})"


def matrix_figures(matrix: ConfusionMatrix) -> list[MatrixPlot]:
    """The matrix in every normalisation; counts are shaded by the share of the real class."""
    return [matrix_figure(matrix, by) for by in NORMALISATIONS]


def matrix_figure(matrix: ConfusionMatrix, by: Normalisation, key: str = "matrix") -> MatrixPlot:
    """The matrix in one normalisation."""
    shares = normalised(matrix, by)
    shade = normalised(matrix, "real") if by == "none" else shares / (np.nanmax(shares) if by == "all" else 1)
    cells = [[_cell(value, by) for value in row] for row in shares.tolist()]
    names = matrix.names
    return MatrixPlot(
        f"{key}-{by}", TITLES[by], f"{NORMALISATIONS[by].capitalize()}.", "real class", "predicted class", names, names, shade, cells
    )  # fmt: skip


def _cell(value: float, by: Normalisation) -> str:
    if by == "none":
        return f"{int(value):,}"
    return "–" if value != value else f"{value:.3f}"


def score_table(matrix: ConfusionMatrix, result: Scores) -> Table:
    """Precision, recall and F1 of each class with their 95 % intervals."""
    rows = [
        [
            name,
            f"{result.support[index]:,}",
            f"{result.predicted[index]:,}",
            *(interval(rate, index) for rate in (result.precision, result.recall, result.f1)),
        ]
        for index, name in enumerate(matrix.names)
    ]
    heads = ["class", "support", "predicted", "precision", "recall", "F1"]
    return Table("Scores of each class, with 95 % intervals", heads, rows)


def confusion_table(matrix: ConfusionMatrix) -> Table:
    """The pairs that are confused most."""
    names = matrix.names
    rows = [
        [names[pair.real], names[pair.predicted], f"{pair.count:,}", percent(pair.share)]
        for pair in top_confusions(matrix, MOST_CONFUSIONS)
    ]
    return Table("Confused most often", ["real class", "predicted as", "examples", "share of the real class"], rows)


def suspect_table(joint: ConfidentJoint, names: Sequence[str]) -> Table:
    """The labels that look wrong, the most doubtful first; rows are those of the file, its header being row 1."""
    rows = [
        [f"{suspect.row + 2:,}", names[suspect.given], names[suspect.suggested], f"{suspect.margin:.3f}"]
        for suspect in joint.suspects[:MOST_SUSPECTS]
    ]
    caption = f"Labels that are probably wrong: {joint.suspected:,} of them, the most doubtful first"
    return Table(caption, ["row of the file", "label", "probably", "margin"], rows)


def score_figure(matrix: ConfusionMatrix, result: Scores) -> XYPlot:
    """Recall and precision of the classes, from the worst recall to the best."""
    order = np.argsort(result.recall.value, kind="stable")
    x = np.arange(1.0, len(order) + 1)
    lines = [
        Line(name, x, rate.value[order], *_band(rate, order))
        for name, rate in (("recall", result.recall), ("precision", result.precision))
    ]
    worst = f"Worst recall: {matrix.names[int(order[0])]}. The bands are 95 % intervals."
    return XYPlot("scores", "Recall and precision, by class", worst, "classes, by recall", "share", lines)


def _band(rate: Rate, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Floats, Floats]:
    known = np.isfinite(rate.value[order])
    return np.where(known, rate.low[order], np.nan), np.where(known, rate.high[order], np.nan)
