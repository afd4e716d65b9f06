"""A file of predictions, read in chunks: one pass for the matrix, a second one for the labels that look wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.confusion_views import percent
from vivavoce.labs.inputs import Chunk, CsvFile, natural_order
from vivavoce.labs.lab import Context, LabError
from vivavoce.measure.confusion import ConfusionMatrix, Counts
from vivavoce.measure.confusion_costs import ScoreHistogram, Threshold
from vivavoce.measure.confusion_labels import ConfidentJoint, Thresholds, check_probabilities
from vivavoce.settings import did_you_mean

REAL = ("true", "real", "label", "target", "y_true", "actual", "class", "y", "truth", "true_label")
PREDICTED = ("predicted", "prediction", "pred", "y_pred", "predicted_label", "guess")
PREFIXES = ("score_", "p_", "prob_", "proba_", "probability_", "scores_")
SINGLE = ("score", "probability", "prob", "p", "proba", "y_score")
YES = ("1", "yes", "true", "positive", "y", "t", "1.0")  # the positive class where it is not named
MOST_CLASSES = 2_000  # 32 MB of counts; a column with more labels is hardly a class
HALF = 0.5

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """What a file holds. `joint` where it has probabilities of all classes, `threshold` where it is yes or no."""

    matrix: ConfusionMatrix
    joint: ConfidentJoint | None = None
    threshold: Threshold | None = None
    positive: str = ""
    costs: tuple[float, float] = (1.0, 1.0)
    notes: list[str] = field(default_factory=list)


def read(path: str, context: Context) -> Predictions:
    """Read a file as the options say. Raises LabError."""
    file = CsvFile(path)
    options = context.options
    real = file.column(options["real"]) if options["real"] else file.first_of(REAL, "the real class", "--real")
    prefix = _prefix(file, options["scores"])
    if prefix and not options["predicted"]:
        return _with_scores(file, real, prefix, context)
    single = next((name for name in file.header if name.lower() in SINGLE), None)
    predicted = _predicted(file, options["predicted"], optional=single is not None)
    if predicted is None or (options["positive"] and single):
        assert single is not None
        return _with_one_score(file, real, single, context)
    return Predictions(_counted(file, real, predicted, context))


def _predicted(file: CsvFile, given: str | None, optional: bool) -> str | None:
    if given:
        return file.column(given)
    if optional and not any(name.lower() in PREDICTED for name in file.header):
        return None
    return file.first_of(PREDICTED, "the predicted class", "--predicted")


def _prefix(file: CsvFile, given: str | None) -> str | None:
    """What the columns of scores begin with; None where there are no two such columns."""
    if given is not None:
        found = [name for name in file.header if name.startswith(given)]
        if len(found) < 2:
            raise LabError(
                f"{file.path} has {len(found)} columns that begin with {given!r}, one for each class is expected"
                f"{did_you_mean(given, file.header)}"
            )
        return given
    return next((p for p in PREFIXES if sum(name.startswith(p) for name in file.header) > 1), None)


class _Numbers(dict[str, int]):
    """Numbers of labels, given in the order of their first appearance."""

    def __missing__(self, label: str) -> int:
        if len(self) >= MOST_CLASSES:
            raise LabError(f"there are more than {MOST_CLASSES:,} different labels, as {label!r}: is this the class?")
        self[label] = len(self)
        return self[label]


def _counted(file: CsvFile, real: str, predicted: str, context: Context) -> ConfusionMatrix:
    pairs: Counter[tuple[str, str]] = Counter()
    for chunk in file.chunks([real, predicted], context, "counting"):
        before = len(pairs)
        pairs.update(zip(chunk.text(real), chunk.text(predicted), strict=True))
        if len(pairs) > before:  # only a new pair can be a wrong one
            _check_pairs(chunk, real, predicted, pairs)
    stripped = [((left.strip(), right.strip()), count) for (left, right), count in pairs.items()]
    reals, guesses = ({pair[side] for pair, _ in stripped} for side in (0, 1))
    names = sorted(reals | guesses, key=natural_order)
    matrix = ConfusionMatrix(names or 1)
    numbers = {name: number for number, name in enumerate(names)}
    for (left, right), count in stripped:
        matrix.counts[numbers[left], numbers[right]] += count
    _check_classes(file, real, names, matrix.total)
    if not reals & guesses:
        raise LabError(
            f"{file.path}: no predicted label is a real one: {real} has {_some(reals)}, {predicted} has {_some(guesses)}"
        )
    return matrix


def _check_pairs(chunk: Chunk, real: str, predicted: str, pairs: Counter[tuple[str, str]]) -> None:
    for column, labels in ((real, {left for left, _ in pairs}), (predicted, {right for _, right in pairs})):
        if len(labels) > MOST_CLASSES:
            raise LabError(
                f"{column} has more than {MOST_CLASSES:,} different labels, as {chunk.text(column)[-1]!r}: is it a class?"
            )
        if any(not label.strip() for label in labels):
            _stripped(chunk, column)


def _stripped(chunk: Chunk, column: str) -> list[str]:
    cells = [cell.strip() for cell in chunk.text(column)]
    if "" in cells:
        raise LabError(f"{chunk.path}, row {chunk.first + cells.index('')}: {column} is empty")
    return cells


def _some(labels: set[str], most: int = 4) -> str:
    return ", ".join(map(repr, sorted(labels, key=natural_order)[:most])) + (" …" if len(labels) > most else "")


def _check_classes(file: CsvFile, real: str, names: Sequence[str], rows: int) -> None:
    if not rows:
        raise LabError(f"{file.path} has a header but no rows")
    if len(names) < 2:
        raise LabError(
            f"{file.path}: all {rows:,} rows are {names[0]!r}; a confusion matrix needs two classes ({real})"
        )


def _with_scores(file: CsvFile, real: str, prefix: str, context: Context) -> Predictions:
    """Scores of all classes; where they are probabilities, a second pass looks for wrong labels."""
    columns = [name for name in file.header if name.startswith(prefix)]
    names = [name.removeprefix(prefix).strip() for name in columns]
    matrix, thresholds = ConfusionMatrix(names), Thresholds(len(names))
    why_not = ""
    for chunk in file.chunks([real, *columns], context, "counting"):
        labels, values = _labels(chunk, real, names), _matrix(chunk, columns)
        matrix.update(labels, values)
        why_not = why_not or _not_probabilities(values)
        if not why_not:
            thresholds.update(labels, values)
    occurring = [name for name, count in zip(names, matrix.counts.sum(axis=1), strict=True) if count]
    _check_classes(file, real, occurring, matrix.total)
    if why_not:
        return Predictions(matrix, notes=[f"Labels were not checked: the scores are no probabilities ({why_not})."])
    joint = ConfidentJoint(thresholds.read())
    for chunk in file.chunks([real, *columns], context, "looking for wrong labels"):
        joint.update(_labels(chunk, real, names), _matrix(chunk, columns))
    note = (
        "Wrong labels are only seen where the probabilities come from a model that was not trained on those examples."
    )
    return Predictions(matrix, joint, notes=[note])


def _matrix(chunk: Chunk, columns: Sequence[str]) -> NDArray[np.float64]:
    return np.stack([chunk.numbers(name) for name in columns], axis=1)


def _not_probabilities(values: NDArray[np.float64]) -> str:
    try:
        check_probabilities(values, values.shape[1])
    except ValueError as error:
        return str(error)
    return ""


def _labels(chunk: Chunk, real: str, names: Sequence[str]) -> Labels:
    numbers = {name: number for number, name in enumerate(names)}
    cells = _stripped(chunk, real)
    try:
        return np.fromiter(map(numbers.__getitem__, cells), np.int64, len(cells))
    except KeyError as error:
        label = str(error.args[0])
        row = chunk.first + cells.index(label)
        hint = did_you_mean(label, names)
        raise LabError(f"{chunk.path}, row {row}: no column of scores is for the class {label!r}{hint}") from None


def _with_one_score(file: CsvFile, real: str, score: str, context: Context) -> Predictions:
    """One score, of the positive class: the matrix at 0.5, and the threshold that costs least."""
    numbers, histogram = _Numbers(), ScoreHistogram()
    hits = np.zeros((MOST_CLASSES, 2), np.int64)
    positive = context.options["positive"]
    for chunk in file.chunks([real, score], context, "counting"):
        cells, values = _stripped(chunk, real), chunk.numbers(score)
        if values.min() < 0 or values.max() > 1:
            row = int(np.flatnonzero((values < 0) | (values > 1))[0])
            raise LabError(
                f"{file.path}, row {chunk.first + row}: {score} must lie between 0 and 1, not {values[row]:g}"
            )
        labels = np.fromiter(map(numbers.__getitem__, cells), np.int64, len(cells))
        np.add.at(hits, (labels, (values >= HALF).astype(np.int64)), 1)
        positive = positive if positive is not None else _positive(file, real, numbers)
        histogram.update(labels == numbers.get(positive, -1), values)
    names = list(numbers)
    _check_classes(file, real, names, int(hits.sum()))
    if positive not in numbers:
        raise LabError(
            f"{file.path}: no row is {positive!r}{did_you_mean(positive, names)} ({real} has {_some(set(names))})"
        )
    return _yes_or_no(names, hits, positive, histogram, context)


def _positive(file: CsvFile, real: str, numbers: dict[str, int]) -> str:
    named = [label for label in numbers if label.lower() in YES]
    if len(named) != 1:
        raise LabError(
            f"{file.path}: which class is the score for? Name it with --positive ({real} has {_some(set(numbers))})"
        )
    return named[0]


def _yes_or_no(
    names: list[str], hits: Counts, positive: str, histogram: ScoreHistogram, context: Context
) -> Predictions:
    place = names.index(positive)
    others = [index for index in range(len(names)) if index != place]
    no = names[others[0]] if len(others) == 1 else f"not {positive}"
    counts = np.array([hits[others].sum(axis=0), hits[place]])
    alarm, miss = context.options["false-alarm"], context.options["miss"]
    if not (alarm > 0 and miss > 0):
        raise LabError(f"costs must be positive numbers, got --false-alarm {alarm:g} --miss {miss:g}")
    share = counts[1].sum() / counts.sum()
    note = f"The matrix is that at a score of {HALF}; {percent(float(share))} of the examples are {positive!r}."
    return Predictions(
        ConfusionMatrix([no, positive], counts), None, histogram.best(alarm, miss), positive, (alarm, miss), [note]
    )
