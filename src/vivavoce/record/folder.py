"""The folder of runs: how a new one is named, which there are, and which one a person means."""

from __future__ import annotations

import contextlib
import difflib
import os
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from vivavoce.record.errors import MissingStoreError, RunNotFoundError, StoreError
from vivavoce.record.store import read_meta
from vivavoce.record.words import ADJECTIVES, ANIMALS

SUFFIX = ".db"
LAST = "last"
NAME_ATTEMPTS = 100  # names of two words that are tried before a number is added
SUGGESTIONS = 3  # names that an error suggests


@dataclass(frozen=True)
class RunFile:
    """A store in a folder. `meta` are its facts, or None where it cannot be read; `error` then says why."""

    path: Path
    started: float  # seconds since 1970; where the store does not say, when the file was last changed
    meta: dict[str, Any] | None
    error: str = ""

    @property
    def name(self) -> str:
        """The name of the run: that of its file without the ending."""
        return self.path.name.removesuffix(SUFFIX)


def create_run(folder: Path, day: date | None = None) -> Path:
    """Make an empty file with a new name, `2026-11-22-lively-otter.db`, and the folder if need be.

    No two callers get the same, whatever processes they are in. Raises OSError where the folder cannot be written.
    No random generator of the script is touched.
    """
    _make_folder(folder)
    prefix = (day or date.today()).isoformat()
    for attempt in range(2 * NAME_ATTEMPTS):
        number = "" if attempt < NAME_ATTEMPTS else f"-{_draw(10_000)}"
        path = folder / f"{prefix}-{ADJECTIVES[_draw(len(ADJECTIVES))]}-{ANIMALS[_draw(len(ANIMALS))]}{number}{SUFFIX}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path
    raise FileExistsError(f"no free name for a run in {folder}")


def _draw(below: int) -> int:
    """A random number from 0 to below − 1, from the operating system."""
    return int.from_bytes(os.urandom(4), "little") % below


def _make_folder(folder: Path) -> None:
    """Make the folder; one of our own making keeps itself out of version control."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            (folder / ".gitignore").write_text("# Runs recorded by Vivavoce.\n*\n", encoding="utf-8")


def list_runs(folder: Path) -> list[RunFile]:
    """The runs of a folder, newest first. Files that are no stores are left out; stores that cannot be read are not."""
    runs = (_describe(path) for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    return sorted((run for run in runs if run is not None), key=lambda run: (-run.started, run.path.name))


def _describe(path: Path) -> RunFile | None:
    try:
        changed = path.stat().st_mtime
        if not _is_sqlite(path):
            return None
        meta = read_meta(path)
    except StoreError as error:
        return RunFile(path, changed, None, str(error))
    except OSError:  # it has vanished meanwhile
        return None
    return RunFile(path, _seconds(meta.get("started"), changed), meta)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"SQLite"


def _seconds(started: Any, otherwise: float) -> float:
    """A time given as seconds since 1970 or in ISO 8601."""
    try:
        return datetime.fromisoformat(started).timestamp() if isinstance(started, str) else float(started)
    except (TypeError, ValueError, OverflowError):
        return otherwise


def resolve_run(argument: str | None, folder: Path) -> Path:
    """The store that a person means by `argument`.

    None or "last": the newest run of the folder. Otherwise a path, a name, or the beginning or the end of the name of
    exactly one run ("otter"). Raises RunNotFoundError with a suggestion, MissingStoreError for a path that is none.
    """
    if argument is None or argument == LAST:
        return _newest(folder)
    path = Path(argument).expanduser()
    if path.is_file():
        return path
    if path.name != argument and path.is_dir():
        raise MissingStoreError(f"{argument} is a folder, not a run; --dir names a folder of runs")
    if path.name != argument:
        raise MissingStoreError(f"there is no run at {argument}")
    return _by_name(argument.removesuffix(SUFFIX), folder)


def _newest(folder: Path) -> Path:
    runs = [run for run in list_runs(folder) if run.meta is not None]
    if not runs:
        raise RunNotFoundError(f"no runs in {folder} yet: record one with viva run SCRIPT")
    return runs[0].path


def _by_name(name: str, folder: Path) -> Path:
    runs = {run.name: run.path for run in list_runs(folder)}
    if name in runs:
        return runs[name]
    for matches in ([run for run in runs if run.startswith(name)], [run for run in runs if run.endswith(name)]):
        if len(matches) == 1:
            return runs[matches[0]]
        if matches:
            some = ", ".join(matches[:SUGGESTIONS]) + (", …" if len(matches) > SUGGESTIONS else "")
            raise RunNotFoundError(f"{name!r} means {len(matches)} runs ({some}): type more of the name")
    raise RunNotFoundError(f"no run {name!r} in {folder}{_suggestion(name, list(runs))}")


def _suggestion(name: str, names: list[str]) -> str:
    """A close name, by the whole or by its last words; or where to look."""
    ends = {run.split("-", 3)[-1]: run for run in reversed(names)} | {
        run.rsplit("-", 1)[-1]: run for run in reversed(names)
    }
    close = difflib.get_close_matches(name, [*names, *ends], n=1)
    if close:
        return f"; did you mean {ends.get(close[0], close[0])}?"
    return "; viva runs lists those there are" if names else "; there are none yet"
