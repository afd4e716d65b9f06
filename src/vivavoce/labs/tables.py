"""A table as numbers to learn from: words become indicators, dates become days, gaps stay gaps.

Of a long file a random sample of the rows is kept while it is read, so that ten million rows need no more memory than
ten thousand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.figures import Floats
from vivavoce.labs.inputs import MOST_NAMES, CsvFile, natural_order
from vivavoce.labs.lab import Context, LabError, Option

MOST_CATEGORIES = 20  # kinds of a column of words that get an indicator of their own
IDENTIFIER_SHARE = 0.5  # of the rows: a column with more different words than this names the rows
MOST_FEATURES = 500
MOST_CLASSES = 50
MOST_NUMERIC_CLASSES = 10  # different whole numbers that are taken for classes; more are numbers to predict
FEWEST_ROWS = 40
GAPS = ("", "nan", "na", "n/a", "null", "none", "?")
DATE_FORMATS = ("%d.%m.%Y", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M")
SECONDS_PER_DAY = 86_400.0
TASKS = ("auto", "classes", "numbers")

OPTIONS = (
    Option("target", "Column to predict: numbers or classes.", metavar="COLUMN"),
    Option("task", "What the target is; auto takes words and few whole numbers for classes.", default="auto", choices=TASKS),
)  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Features `x` (n, d), NaN where one is missing, and the target `y` (n,): class numbers where there are `classes`."""

    x: Floats
    y: NDArray[np.float64] | NDArray[np.int64]
    names: tuple[str, ...]
    classes: tuple[str, ...] = ()
    target: str = "y"
    notes: tuple[str, ...] = ()

    @property
    def is_classes(self) -> bool:
        """Whether classes are to be predicted, and not numbers."""
        return bool(self.classes)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Some of the examples."""
        return Examples(self.x[rows], self.y[rows], self.names, self.classes, self.target, self.notes)


def read_examples(source: str, context: Context, most_rows: int, fewest_of_class: int = 1) -> Examples:
    """Read a CSV file with the options of `OPTIONS`. Classes of fewer rows than `fewest_of_class` are left out.

    Raises LabError for what cannot be learned from.
    """
    file = CsvFile(source)
    target = context.options["target"]
    if not target:
        raise LabError(f"name the column to predict with --target (it has {', '.join(file.header[:MOST_NAMES])})")
    columns, notes = _sample(file, file.column(target), context, most_rows)
    given = columns.pop(target)
    y, classes = _target(source, target, given, context.options["task"])
    keep = np.arange(len(y))
    if classes:
        y, classes, keep, left_out = _common(source, y.astype(np.int64), classes, fewest_of_class)
        notes += left_out
    features, dropped = _features(columns, keep)
    if dropped:
        notes.append(f"Left out: {', '.join(dropped)} (constant, empty, or words that name single rows).")
    if not features:
        raise LabError(f"{source}: no column besides {target} can be used to predict it")
    if len(features) > MOST_FEATURES:
        raise LabError(f"{source}: its columns make {len(features)} features; at most {MOST_FEATURES} are used")
    return Examples(np.column_stack(list(features.values())), y, tuple(features), classes, target, tuple(notes))


def _sample(file: CsvFile, target: str, context: Context, most: int) -> tuple[dict[str, list[str]], list[str]]:
    """At most `most` rows, drawn at random, in the order of the file."""
    rng, names = context.rng(90), file.header
    kept: list[tuple[str, ...]] = []
    keys, total = np.empty(0), 0
    for chunk in file.chunks(names, context):
        total += len(chunk)
        _check_target(chunk.text(target), target, chunk.first, str(file.path))
        drawn = rng.random(len(chunk))
        new = np.flatnonzero(drawn <= (np.max(keys) if len(keys) >= most else 1.0))
        cells = [chunk.text(name) for name in names]
        kept += [tuple(column[row] for column in cells) for row in new.tolist()]
        keys = np.concatenate([keys, drawn[new]])
        if len(keys) > most:
            best = np.sort(np.argpartition(keys, most)[:most])
            kept, keys = [kept[row] for row in best.tolist()], keys[best]
    if total < FEWEST_ROWS:
        raise LabError(f"{file.path} has {total} rows; at least {FEWEST_ROWS} are needed")
    note = [f"{len(kept):,} of {total:,} rows were drawn at random."] if total > len(kept) else []
    return {name: [row[place].strip() for row in kept] for place, name in enumerate(names)}, note


def _check_target(cells: Sequence[str], name: str, first: int, source: str) -> None:
    gaps = {cell for cell in set(cells) if cell.strip().lower() in GAPS}
    if gaps:
        row = next(number for number, cell in enumerate(cells, first) if cell in gaps)
        raise LabError(f"{source}, row {row}: {name}, which is to be predicted, is missing ({cells[row - first]!r})")


def _target(source: str, name: str, cells: list[str], task: str) -> tuple[Floats | NDArray[np.int64], tuple[str, ...]]:
    values = _numbers(cells)
    if values is None or task == "classes" or (task == "auto" and _few_whole(values)):
        kinds = sorted(set(cells), key=natural_order)
        if task == "numbers":
            bad = next(cell for cell in cells if _numbers([cell]) is None)
            raise LabError(f"{source}: {name} must be numbers with --task numbers, not {bad!r}")
        if len(kinds) > MOST_CLASSES:
            raise LabError(f"{source}: {name} has {len(kinds):,} different words, as {kinds[0]!r}; at most {MOST_CLASSES} classes are used")  # fmt: skip
        places = {kind: number for number, kind in enumerate(kinds)}
        if len(kinds) < 2:
            raise LabError(f"{source}: {name} is {kinds[0]!r} in every row; there is nothing to predict")
        return np.array([places[cell] for cell in cells], np.int64), tuple(kinds)
    if not np.isfinite(values).all():
        raise LabError(f"{source}: {name} must be finite numbers, not {cells[int(np.argmin(np.isfinite(values)))]!r}")
    if not np.ptp(values):
        raise LabError(f"{source}: {name} is {cells[0]!r} in every row; there is nothing to predict")
    return values, ()


def _few_whole(values: Floats) -> bool:
    different = np.unique(values[np.isfinite(values)])
    whole = bool(np.all(different == np.round(different)))
    return len(different) <= 2 or (whole and len(different) <= MOST_NUMERIC_CLASSES)


def _common(
    source: str, y: NDArray[np.int64], classes: tuple[str, ...], fewest: int
) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.int64], list[str]]:
    """The rows of classes that have at least `fewest` of them, with the classes numbered anew."""
    counts = np.bincount(y, minlength=len(classes))
    common = np.flatnonzero(counts >= fewest)
    if len(common) < 2:
        raise LabError(f"{source}: fewer than two classes have {fewest} rows or more; there is nothing to compare")
    keep = np.flatnonzero(np.isin(y, common))
    if len(keep) < FEWEST_ROWS:
        raise LabError(
            f"{source}: {len(keep)} rows belong to classes of {fewest} rows or more; {FEWEST_ROWS} are needed"
        )
    rare = [name for name, count in zip(classes, counts, strict=True) if count < fewest]
    notes = [f"Left out: {len(rare)} classes of fewer than {fewest} rows, as {rare[0]!r}."] if rare else []
    return np.searchsorted(common, y[keep]), tuple(classes[number] for number in common), keep, notes


def _features(columns: dict[str, list[str]], keep: NDArray[np.int64]) -> tuple[dict[str, Floats], list[str]]:
    features: dict[str, Floats] = {}
    dropped = []
    for name, cells in columns.items():
        parts = _encode(name, [cells[row] for row in keep.tolist()])
        good = {part: values for part, values in parts.items() if _varies(values)}
        if not good:
            dropped.append(name)
        features |= good
    return features, dropped


def _varies(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    return len(known) > 0 and bool(np.ptp(known) > 0)


def _encode(name: str, cells: list[str]) -> dict[str, Floats]:
    """A column as named features: numbers, dates or words, and whether it is missing."""
    gaps = np.array([cell.lower() in GAPS for cell in cells])
    values = _numbers(["nan" if gap else cell for cell, gap in zip(cells, gaps, strict=True)])
    if values is not None:
        parts = {name: np.where(np.isfinite(values), values, np.nan)}
    else:
        parts = _dates(name, cells, gaps) or _words(name, cells, gaps)
    if parts and 0 < gaps.sum() < len(gaps):
        parts[f"{name} is missing"] = gaps.astype(np.float64)
    return parts


def _numbers(cells: Sequence[str]) -> Floats | None:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return None


def _dates(name: str, cells: list[str], gaps: NDArray[np.bool_]) -> dict[str, Floats]:
    """Days since 1970, month, weekday and hour; empty where the cells are no dates of one form."""
    known = [cell for cell, gap in zip(cells, gaps, strict=True) if not gap]
    for form in ("", *DATE_FORMATS):
        try:
            moments = [datetime.fromisoformat(cell) if not form else datetime.strptime(cell, form) for cell in known]
        except ValueError:
            continue
        aware = [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments]
        parts: dict[str, Sequence[float]] = {
            f"{name} in days": [moment.timestamp() / SECONDS_PER_DAY for moment in aware],
            f"month of {name}": [moment.month for moment in aware],
            f"weekday of {name}": [moment.weekday() for moment in aware],
            f"hour of {name}": [moment.hour for moment in aware],
        }
        return {part: _spread(values, gaps) for part, values in parts.items()}
    return {}


def _spread(values: Sequence[float], gaps: NDArray[np.bool_]) -> Floats:
    column = np.full(len(gaps), np.nan)
    column[~gaps] = values
    return column


def _words(name: str, cells: list[str], gaps: NDArray[np.bool_]) -> dict[str, Floats]:
    """An indicator of each frequent kind; none where nearly every row has a word of its own."""
    counts = Counter(cell for cell, gap in zip(cells, gaps, strict=True) if not gap)
    if not counts or len(counts) > max(MOST_CATEGORIES, IDENTIFIER_SHARE * sum(counts.values())):
        return {}
    kinds = sorted(kind for kind, _ in counts.most_common(MOST_CATEGORIES))
    if len(counts) == 2:
        kinds = kinds[1:]
    return {f"{name} = {kind}": np.array([float(cell == kind) for cell in cells]) for kind in kinds}
