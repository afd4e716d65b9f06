"""The end of a repair as text for a terminal: the card, and the table of all arms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vivavoce.repair.result import TITLES, Result
from vivavoce.repair.rows import HEADS, facts, rows, tally
from vivavoce.report import words

WIDEST = 140  # columns
LABEL_WIDTH = 7  # "by hand"
STYLES = {
    "healthy": "bold green",
    "repaired": "bold green",
    "by-hand": "bold yellow",
    "no-remedy": "bold yellow",
    "unmeasured": "bold yellow",
    "interrupted": "bold yellow",
}


def write(result: Result, stream: TextIO, next_commands: Iterable[str] = (), width: int | None = None) -> None:
    """Write the card and the table. `next_commands` are what to type next."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    console.width = width or (min(console.width, WIDEST) if console.is_terminal else WIDEST)
    with console.capture() as capture:
        console.print(_head(result))
        console.print(_facts(result, list(next_commands)))
        if len(result.arms) > 1:
            console.print(Padding(_table(result), (1, 0, 1, 2), expand=False))
        console.print(Text.assemble(("viva ▸ ", "dim"), (tally(result), "dim")))
    stream.write("\n".join(line.rstrip() for line in capture.get().split("\n")))


def _head(result: Result) -> RenderableType:
    grid = Table.grid(padding=0)
    grid.add_column(width=7, no_wrap=True)
    grid.add_column(overflow="fold")
    title = Text(TITLES[result.verdict], style=STYLES[result.verdict])
    grid.add_row(Text("viva ▸ ", style="dim"), Text.assemble(title, "   ", words.plain(result.reason)))
    return grid


def _facts(result: Result, commands: list[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=LABEL_WIDTH, style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in facts(result):
        grid.add_row(label, Text(words.plain(text)))
    if commands:
        grid.add_row("next", Text(" · ").join(Text(command, style="bold") for command in commands))
    return Padding(grid, (0, 0, 0, 2), expand=False)


def _table(result: Result) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for head in HEADS:
        table.add_column(head, overflow="fold", justify="left" if head in (HEADS[0], HEADS[-1]) else "right")
    for row in rows(result):
        style = {"winner": "bold green", "original": "dim"}.get(row.tone, "")
        table.add_row(*(Text(words.plain(cell), style=style) for cell in row.cells))
    return table
