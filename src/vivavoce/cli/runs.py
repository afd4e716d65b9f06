"""`viva runs`: what has been recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from vivavoce.cli.stores import directory_option, examined, runs_folder
from vivavoce.record.errors import StoreError

if TYPE_CHECKING:
    from vivavoce.record.folder import RunFile

SHOWN = 20  # runs, newest first: each one shown is opened and examined
WIDTH_IN_PIPE = 200  # columns: a program that reads the table shall not meet cut words


class Row(TypedDict):
    """A run of the list. `findings` are ordered, most important first; `error` says why a store cannot be read."""

    name: str
    path: str
    started: str | None
    script: str | None
    command: str
    steps: int
    state: str | None
    verdict: str | None
    findings: list[dict[str, str]]
    error: str | None


@click.command(name="runs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-n", "limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="At most so many runs.")
@directory_option
def command(as_json: bool, limit: int, directory: str | None) -> None:
    """List the recorded runs, newest first: what ran, how far it came, and what was found."""
    from vivavoce.record.folder import list_runs

    folder = runs_folder(directory)
    files = list_runs(folder) if folder.is_dir() else []
    rows = [_row(file) for file in files[:limit]]
    if as_json:
        click.echo(json.dumps({"schema": 1, "runs": rows}, indent=2))
    elif not rows:
        click.echo(f"no runs in {folder} yet: record one with viva run SCRIPT")
    else:
        _print_table(rows)
        if len(files) > limit:
            click.echo(f"and {len(files) - limit:,} older: viva runs -n {len(files)}")


def _row(file: RunFile) -> Row:
    try:
        report = examined(file.path)[1]
    except StoreError as error:
        return _unreadable(file, str(error))
    run = report["run"]
    return {
        "name": file.name,
        "path": str(file.path),
        "started": run["started"],
        "script": run["script"],
        "command": run["command"],
        "steps": run["steps"],
        "state": run["state"],
        "verdict": report["verdict"],
        "findings": [{"slug": f["slug"], "severity": f["severity"]} for f in report["findings"]],
        "error": None,
    }


def _unreadable(file: RunFile, error: str) -> Row:
    return {
        "name": file.name,
        "path": str(file.path),
        "started": None,
        "script": None,
        "command": "",
        "steps": 0,
        "state": None,
        "verdict": None,
        "findings": [],
        "error": error,
    }


def _print_table(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from vivavoce.report.text import STYLES

    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for head in ("run", "started", "script", "steps", "verdict", "state"):
        table.add_column(head, justify="right" if head == "steps" else "left", overflow="fold")
    for row in rows:
        verdict, style = _verdict(row)
        table.add_row(*map(Text, _cells(row)), Text(verdict, style=STYLES.get(style, "")), Text(row["state"] or ""))
    console = Console(width=None if sys.stdout.isatty() else WIDTH_IN_PIPE, highlight=False)
    console.print(table)


def _cells(row: Row) -> list[str]:
    from vivavoce.report.words import moment, plain

    script = Path(row["script"]).name if row["script"] else row["command"]
    return [row["name"], moment(row["started"]).removesuffix(" UTC"), plain(script), f"{row['steps']:,}"]


def _verdict(row: Row) -> tuple[str, str]:
    """The verdict in a few words, and what it is coloured by."""
    if row["error"] is not None:
        return row["error"], "unknown"
    if row["verdict"] != "findings":
        return str(row["verdict"]), str(row["verdict"])
    first, *others = row["findings"]
    return first["slug"] + (f" and {len(others)} more" if others else ""), first["severity"]
