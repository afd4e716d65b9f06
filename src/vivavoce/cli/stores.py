"""What the commands that read recorded runs share: finding a run, opening it, and saying why that failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vivavoce.record.errors import StoreError
from vivavoce.settings import SettingError, resolve

if TYPE_CHECKING:
    from vivavoce.record.run import Run
    from vivavoce.report.schema import Report

directory_option = click.option("--dir", "directory", metavar="DIR", help="Folder of the runs. [default: .viva]")


def runs_folder(directory: str | None) -> Path:
    """The folder of the runs, by the option, the environment or the settings file. Raises click.UsageError."""
    try:
        return resolve({"directory": directory}).directory
    except SettingError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None


def find(argument: str | None, folder: Path) -> Path:
    """The store that a person means. Raises click.UsageError."""
    from vivavoce.record.folder import resolve_run

    try:
        return resolve_run(argument, folder)
    except StoreError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None


def load(path: Path) -> tuple[Run, Report]:
    """A run and its report. Raises click.UsageError for a store that cannot be read."""
    try:
        return examined(path)
    except StoreError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None


def examined(path: Path) -> tuple[Run, Report]:
    """A run and its report. Raises StoreError."""
    from vivavoce.examine.verdict import examine
    from vivavoce.record.store import open_run
    from vivavoce.report.build import build_report

    run = open_run(path)
    return run, build_report(run, examine(run), path)
