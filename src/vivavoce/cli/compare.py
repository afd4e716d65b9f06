"""`viva compare`: two recorded runs side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from vivavoce.cli.stores import directory_option, find, load, runs_folder

if TYPE_CHECKING:
    from vivavoce.report.comparison import Comparison

WIDTH_IN_PIPE = 200  # columns: a program that reads the table shall not meet cut words


@click.command(name="compare")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@directory_option
@click.argument("a")
@click.argument("b")
def command(as_json: bool, directory: str | None, a: str, b: str) -> None:
    """Compare two recorded runs: verdicts, findings, metrics, where the losses part, and which settings differ.

    \b
    viva compare otter heron
    """
    from vivavoce.report.comparison import compare

    folder = runs_folder(directory)
    comparison = compare(load(find(a, folder)), load(find(b, folder)))
    if as_json:
        click.echo(json.dumps(comparison, indent=2, allow_nan=False))
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold", show_header=True)
    table.add_column("", style="dim", overflow="fold")
    for name in comparison["runs"].values():
        table.add_column(Text(name or "–"), overflow="fold")
    for row in _rows(comparison):
        table.add_row(*map(Text, row))
    console = Console(width=None if sys.stdout.isatty() else WIDTH_IN_PIPE, highlight=False)
    console.print(table)
    for line in _sentences(comparison):
        console.print(Text(line))


def _rows(comparison: Comparison) -> Iterable[tuple[str, str, str]]:
    from vivavoce.report import words

    yield "verdict", comparison["verdicts"]["a"], comparison["verdicts"]["b"]
    yield "steps", f"{comparison['steps']['a']:,}", f"{comparison['steps']['b']:,}"
    for name, pair in comparison["metrics"].items():
        a, b = (words.metric_line(metric) if metric else "–" for metric in (pair["a"], pair["b"]))
        yield words.METRIC_TITLES[name], a, b
    for setting in comparison["settings"]:
        yield setting["name"], _value(setting["a"]), _value(setting["b"])


def _value(value: object) -> str:
    from vivavoce.report import words

    if isinstance(value, bool) or value is None or not isinstance(value, (int, float)):
        return "–" if value is None else words.plain(value)
    return words.number(value)


def _sentences(comparison: Comparison) -> Iterable[str]:
    from vivavoce.report import words

    yield ""
    for key, verb in (("appeared", "appeared"), ("disappeared", "disappeared"), ("in_both", "in both")):
        slugs = comparison[key]  # type: ignore[literal-required]
        if slugs:
            yield f"{verb:<12} {' · '.join(slugs)}"
    difference = comparison["first_difference"]
    if difference["step"] is not None:
        a, b = words.number(difference["a"]), words.number(difference["b"])
        yield f"losses       differ first at step {difference['step']:,}: {a} and {b}"
    elif difference["compared"]:
        yield f"losses       the same in all {difference['compared']:,} rows that both have"
    else:
        yield "losses       no rows that both have"
