"""`viva report`: the report of a recorded run, in one of six formats."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from vivavoce.cli.stores import directory_option, find, load, runs_folder
from vivavoce.examine.finding import SEVERITIES

if TYPE_CHECKING:
    from vivavoce.record.run import Run
    from vivavoce.report.schema import Report

FORMATS = ("text", "json", "html", "markdown", "sarif", "junit")
EXIT_FINDING = 3  # a finding as severe as --fail-on says
STANDARD_OUTPUT = "-"
WIDTH_OF_FILE = 100  # columns of a text report that is written to a file

# How a file of each format begins when it is an earlier report of ours, which may be replaced without asking.
MARKS: dict[str, str] = {
    "text": "viva ▸",
    "json": '"verdict"',
    "html": '<meta name="generator" content="vivavoce">',
    "markdown": "<!-- vivavoce -->",
    "sarif": '"name": "vivavoce"',
    "junit": '<testsuites name="vivavoce">',
}
_BEGINNING = 1_000  # characters in which the mark must stand


@click.command(name="report")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write to FILE; - is standard output. [html: RUN.html]")
@click.option("--force", is_flag=True, help="Overwrite a FILE that is not an earlier report.")
@click.option(
    "--fail-on", type=click.Choice(SEVERITIES), metavar="LEVEL", help="Exit 3 on critical, warning or note findings."
)
@directory_option
@click.argument("run", required=False)
@click.pass_context
def command(
    context: click.Context,
    kind: str,
    output: str | None,
    force: bool,
    fail_on: str | None,
    directory: str | None,
    run: str | None,
) -> None:
    """Print the report of a recorded run.

    RUN is a name, a part of one, or a file; without it the latest run is taken. A run that is still going is reported
    as far as it has come.

    \b
    viva report
    viva report otter --format html
    viva report --format sarif -o viva.sarif --fail-on critical
    """
    path = find(run, runs_folder(directory))
    target = _target(output, kind, path)
    if target is not None:
        _check_target(target, kind, force)
    opened, report = load(path)
    content = rendered(kind, opened, report, target is None)
    if content is not None:
        _deliver(content, target)
    if report["run"]["state"] == "running" and kind != "text":
        click.echo("viva ▸ the run is still going: this is the report so far", err=True)
    if fail_on is not None and _fails(report, fail_on):
        context.exit(EXIT_FINDING)


def _target(output: str | None, kind: str, store: Path) -> Path | None:
    """The file to write; None for standard output. HTML is for a browser: without a name it goes into this folder."""
    if output == STANDARD_OUTPUT or (output is None and kind != "html"):
        return None
    return Path(output) if output is not None else Path(f"{store.stem}.html")


def _check_target(target: Path, kind: str, force: bool) -> None:
    if target.is_dir():
        raise click.UsageError(f"{target} is a folder; name a file", click.get_current_context())
    if target.exists() and not force and not is_earlier_report(target, kind):
        raise click.UsageError(
            f"{target} exists and is no report of Viva's; --force overwrites it", click.get_current_context()
        )


def is_earlier_report(file: Path, kind: str) -> bool:
    """Whether a file is a report of this format that we wrote, or empty."""
    try:
        with file.open(encoding="utf-8") as stream:
            beginning = stream.read(_BEGINNING)
    except (OSError, UnicodeDecodeError):
        return False
    return not beginning or MARKS[kind] in beginning


def rendered(kind: str, run: Run, report: Report, on_screen: bool) -> str | None:
    """The report as a string; None where it is text for the screen, which is printed at once."""
    if kind == "text" and on_screen:
        from vivavoce.report import text

        text.write(report, sys.stdout)
        return None
    stream = io.StringIO()
    _write(kind, run, report, stream)
    return stream.getvalue()


def _write(kind: str, run: Run, report: Report, stream: TextIO) -> None:
    from vivavoce.report import json, junit, markdown, sarif, text

    if kind == "html":
        from vivavoce.report import html
        from vivavoce.report.plots import select_plots

        html.write(report, stream, select_plots(run, report))
    elif kind == "text":
        text.write(report, stream, WIDTH_OF_FILE)
    else:
        writers: dict[str, Callable[[Report, TextIO], None]] = {
            "json": json.write,
            "markdown": markdown.write,
            "sarif": sarif.write,
            "junit": junit.write,
        }
        writers[kind](report, stream)


def _deliver(content: str, target: Path | None) -> None:
    if target is None:
        sys.stdout.buffer.write(content.encode("utf-8"))
        sys.stdout.flush()
        return
    try:
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{target}: {error.strerror or error}", click.get_current_context()) from None
    click.echo(f"viva ▸ wrote {target}", err=True)


def _fails(report: Report, level: str) -> bool:
    grave = SEVERITIES[: SEVERITIES.index(level) + 1]
    return any(finding["severity"] in grave for finding in report["findings"])
