"""What labs are given: recorded runs, and tables in files, read in chunks. Every error is one line that names file and row."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.lab import Context, LabError
from vivavoce.record.errors import StoreError
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.settings import did_you_mean

ROWS_PER_CHUNK = 65_536
DELIMITERS = ",;\t|"
LONGEST_LINE = 1_000_000  # bytes of the first line; longer ones are no table
LARGEST = 1e150  # of a number: the square of a larger one overflows
MOST_NAMES = 12  # columns that an error lists


class CsvFile:
    """A CSV file with a header. Raises LabError for what is no such thing."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.size = _size(self.path)
        first = _first_line(self.path)
        if "\0" in first:
            raise LabError(f"{self.path} is no text file: its first line holds a zero byte")
        self.delimiter = max(DELIMITERS, key=first.count)
        self.header = [name.strip() for name in next(csv.reader([first], delimiter=self.delimiter), [])]
        if not any(self.header):
            raise LabError(f"{self.path} is empty: a header with the names of the columns is expected")
        twice = next((name for name in self.header if self.header.count(name) > 1), None)
        if twice is not None:
            raise LabError(f"{self.path} has two columns named {twice!r}")

    def column(self, name: str) -> str:
        """The name itself. Raises LabError where there is no such column, with the nearest."""
        if name not in self.header:
            raise LabError(f"{self.path} has no column {name!r}{did_you_mean(name, self.header)}{self._has()}")
        return name

    def first_of(self, names: Sequence[str], what: str, option: str) -> str:
        """The first column with one of these names, in any case. Raises LabError where there is none."""
        lower = {column.lower(): column for column in self.header}
        for name in names:
            if name in lower:
                return lower[name]
        near = next((hint for name in names if (hint := did_you_mean(name, self.header))), "")
        raise LabError(f"{self.path} has no column for {what}{near}; name one with {option}{self._has()}")

    def _has(self) -> str:
        more = ", …" if len(self.header) > MOST_NAMES else ""
        return f" (it has {', '.join(self.header[:MOST_NAMES])}{more})"

    def chunks(self, columns: Sequence[str], context: Context, label: str = "reading") -> Iterator[Chunk]:
        """The columns, chunk by chunk. Raises LabError for rows of another length and bytes that are not UTF-8."""
        places = [self.header.index(self.column(name)) for name in columns]
        with self._rows(context, label) as (rows, advance):
            first = 2  # the number of the line after the header
            while read := self._next(rows):
                part = self._checked(read, first)
                advance()
                if part:
                    cells = {n: tuple(map(itemgetter(p), part)) for n, p in zip(columns, places, strict=True)}
                    yield Chunk(self.path, first, cells)
                first += len(read)

    @contextmanager
    def _rows(self, context: Context, label: str) -> Iterator[tuple[Iterator[list[str]], Callable[[], None]]]:
        with self.path.open("rb") as raw, context.progress.task(label, self.size) as advance:
            done = 0

            def follow() -> None:
                nonlocal done
                place = raw.tell()
                advance(place - done)
                done = place

            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            rows = csv.reader(text, delimiter=self.delimiter)
            self._next(rows, 1)
            yield rows, follow

    def _next(self, rows: Iterator[list[str]], count: int = ROWS_PER_CHUNK) -> list[list[str]]:
        try:
            return list(islice(rows, count))
        except UnicodeDecodeError as error:
            raise LabError(f"{self.path} is not UTF-8: {error.reason} ({error.object[error.start]:#04x})") from None
        except csv.Error as error:
            raise LabError(f"{self.path} is no CSV file: {error}") from None

    def _checked(self, rows: list[list[str]], first: int) -> list[list[str]]:
        width = len(self.header)
        if set(map(len, rows)) == {width}:
            return rows
        for number, row in enumerate(rows, first):
            if len(row) not in (0, width):
                raise LabError(
                    f"{self.path}, row {number}: {width} cells are expected, as in the header, not {len(row)}"
                )
        return [row for row in rows if row]  # blank lines


class Chunk:
    """Some rows of some columns; `first` is the number of the first row in the file, the header being row 1."""

    def __init__(self, path: Path, first: int, columns: dict[str, tuple[str, ...]]) -> None:
        self.path = path
        self.first = first
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def text(self, name: str) -> tuple[str, ...]:
        """A column as it is written."""
        return self._columns[name]

    def numbers(self, name: str, missing: bool = False) -> NDArray[np.float64]:
        """A column as numbers (n,). Where `missing`, empty cells and NaN become NaN; else they raise LabError."""
        cells = self._columns[name]
        try:
            values = np.array(cells, dtype=np.float64) if not missing else _with_gaps(cells)
        except ValueError:
            values = np.array([_number(cell) for cell in cells])
            self._complain(name, values, missing)
        if not np.isfinite(values).all():
            self._complain(name, values, missing)
        if (np.abs(values) > LARGEST).any():
            row = int(np.flatnonzero(np.abs(values) > LARGEST)[0])
            raise LabError(f"{self.path}, row {self.first + row}: {name} is {cells[row]}, beyond ± {LARGEST:g}")
        return values

    def looks_numeric(self, name: str) -> bool:
        """Whether most cells that are no gaps are numbers, finite or not: then a bad one among them is an error."""
        cells = [cell for cell in self._columns[name] if not _is_gap(cell)]
        return sum(not math.isnan(_number(cell)) for cell in cells) > len(cells) / 2

    def _complain(self, name: str, values: NDArray[np.float64], missing: bool) -> None:
        cells = self._columns[name]
        for row, (cell, value) in enumerate(zip(cells, values.tolist(), strict=True), self.first):
            if not np.isfinite(value) and not (missing and _is_gap(cell)):
                raise LabError(f"{self.path}, row {row}: {name} must be a finite number, not {cell!r}")


def _is_gap(cell: str) -> bool:
    return cell.strip().lower() in ("", "nan", "na", "null", "none")


def _with_gaps(cells: Sequence[str]) -> NDArray[np.float64]:
    return np.array([np.nan if _is_gap(cell) else float(cell) for cell in cells])


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def is_file(source: str) -> bool:
    """Whether there is such a file; False for what cannot be a name, such as a long formula."""
    try:
        return Path(source).is_file()
    except (OSError, ValueError):
        return False


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            raise LabError(f"{path} is a folder; a file is expected")
        return path.stat().st_size
    except OSError as error:
        raise LabError(f"{path}: {error.strerror or error}") from None


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            line = stream.readline(LONGEST_LINE)
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise LabError(f"{path}: {error.strerror or error}") from None


def natural_order(label: str) -> tuple[int, float, str]:
    """Numbers by size, before words in alphabetical order."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def open_store(path: Path) -> Run:
    """Open a recorded run. Raises LabError."""
    try:
        return open_run(path)
    except StoreError as error:
        raise LabError(str(error)) from None
