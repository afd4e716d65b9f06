"""Tables as HTML: in a frame of their own that scrolls, so that a wide table never widens the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vivavoce.report.markup import Html, element


@dataclass(frozen=True)
class Column:
    """A column of numbers: its head, the labels of the rows, and as many cells."""

    head: str
    labels: Sequence[str]
    cells: Sequence[str]


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], kind: str | None = None) -> Html:
    """A table with a caption; the first cell of each row is its head. `kind` is a class of the style sheet."""
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in heads)))
    body = element("tbody", *(_row(row) for row in rows))
    content = element("table", element("caption", caption), head, body, class_=kind)
    return element("div", content, class_="scroll", role="region", aria_label=caption, tabindex=0)


def _row(row: Sequence[Any]) -> Html:
    first, *rest = row
    return element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))


def data_table(caption: str, first: str, columns: Sequence[Column]) -> Html:
    """The numbers behind a plot, folded away; rows in which every cell is empty are left out."""
    rows = []
    if columns:
        for index, label in enumerate(columns[0].labels):
            cells = [column.cells[index] for column in columns]
            if any(cells):
                rows.append([label, *cells])
    content = table(caption, [first, *(column.head for column in columns)], rows, kind="numeric")
    return element("details", element("summary", "The numbers as a table"), content, class_="numbers")
