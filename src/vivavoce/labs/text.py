"""A lab's result on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from vivavoce.labs.lab import Claim, Lab, Outcome, Result, Table
from vivavoce.report.words import plain

WIDEST = 120  # columns
STYLES: dict[Outcome, str] = {"holds": "green", "does not hold": "red", "holds only when": "yellow"}
INDENT = (0, 0, 0, 2)


def write(lab: type[Lab], result: Result, stream: TextIO, width: int | None = None) -> None:
    """Write the answer, the claims and the tables; `width` is that of the terminal where it is not given."""
    console = Console(file=stream, width=width, highlight=False, soft_wrap=False)
    console.width = min(console.width, WIDEST)
    console.print(Text(f"viva ▸ lab {lab.name}", style="bold"), Text(plain(lab.question), style="dim"))
    console.print(Padding(Text(plain(result.answer)), INDENT))
    if result.claims:
        console.print()
        console.print(Padding(_claims(result.claims), INDENT))
    for entry in result.tables:
        console.print()
        _table(console, entry)
    for note in result.notes:
        console.print(Padding(Text(plain(note), style="dim"), INDENT))


def _claims(claims: Iterable[Claim]) -> Grid:
    grid = Grid("claim", "measured", "expected", "outcome", box=box.SIMPLE_HEAD, pad_edge=False)
    for claim in claims:
        style = STYLES[claim.outcome]
        grid.add_row(
            *(Text(plain(part)) for part in (claim.claim, claim.measured, claim.expected)),
            Text(plain(claim.verdict), style),
        )
    return grid


def _table(console: Console, entry: Table) -> None:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(entry.heads):
        grid.add_column(Text(plain(head)), justify="right" if entry.numeric and index else "left", overflow="fold")
    for row in entry.rows[: entry.most]:
        grid.add_row(*(Text(plain(cell)) for cell in row))
    console.print(Padding(Text(plain(entry.caption), style="bold"), INDENT))
    console.print(Padding(grid, INDENT))
    left = len(entry.rows) - entry.most
    if left > 0:
        console.print(Padding(Text(f"… and {left:,} more, all on the page", style="dim"), INDENT))
