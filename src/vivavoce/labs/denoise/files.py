"""Which pictures are to be read and where their clean versions go: a file, a folder, standard input and output."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from vivavoce.labs.denoise.pictures import FORMATS
from vivavoce.labs.lab import LabError
from vivavoce.settings import did_you_mean

STREAM = "-"
ADDED = "-denoised"  # to the name of a file or folder whose clean version was given no place


@dataclass(frozen=True)
class Job:
    """A picture to read and the place for its clean version; None stands for standard input and output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """The source as messages call it."""
        return "standard input" if self.source is None else str(self.source)

    def read(self) -> bytes:
        """The bytes of the source. Raises LabError where it cannot be read or is empty."""
        try:
            data = sys.stdin.buffer.read() if self.source is None else self.source.read_bytes()
        except OSError as error:
            raise LabError(f"{self.name}: {error.strerror or error}") from None
        if not data:
            raise LabError(f"{self.name} is empty: a PNG, JPEG or TIFF is expected")
        return data

    def format(self, own: str) -> str:
        """The format to write: what the target's name says, else the source's `own`."""
        return own if self.target is None else FORMATS[self.target.suffix.lower()]

    def write(self, data: bytes) -> None:
        """Write the whole file or none. Raises LabError where that fails."""
        if self.target is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        part = self.target.with_name(f".{self.target.name}.part")
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            os.replace(part, self.target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise LabError(f"{self.target}: {error.strerror or error}") from None


def plan(source: str, output: str | None, force: bool) -> list[Job]:
    """The jobs for a source as it was typed. Raises LabError for places that cannot be, before any work is done."""
    if source == STREAM or output == STREAM:
        return [_streamed(source, output, force)]
    path = Path(source)
    if not path.exists():
        raise LabError(f"{path}: there is no such file or folder{did_you_mean(path.name, _names(path.parent))}")
    jobs = _of_folder(path, output) if path.is_dir() else [Job(path, _target(path, output))]
    for job in jobs:
        _check(job, force, must_have_folder=not path.is_dir())
    return jobs


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _streamed(source: str, output: str | None, force: bool) -> Job:
    if source != STREAM and Path(source).is_dir():
        raise LabError(f"{source} is a folder: standard output takes one picture")
    job = Job(
        None if source == STREAM else Path(source), Path(output) if output is not None and output != STREAM else None
    )
    _check(job, force, must_have_folder=True)
    return job


def _of_folder(folder: Path, output: str | None) -> list[Job]:
    target = Path(output) if output is not None else folder.with_name(folder.resolve().name + ADDED)
    if target.exists() and not target.is_dir():
        raise LabError(f"{target} is a file; the clean pictures of a folder go into a folder")
    inside = target.resolve()
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())
    found = [path for path in found if inside not in path.resolve().parents or inside == folder.resolve()]
    if not found:
        raise LabError(f"{folder} holds no picture ({', '.join(FORMATS)})")
    return [Job(path, target / path.relative_to(folder)) for path in found]


def _target(path: Path, output: str | None) -> Path:
    if output is None:
        return path.with_name(path.stem + ADDED + path.suffix)
    target = Path(output)
    return target / path.name if target.is_dir() else target


def _check(job: Job, force: bool, must_have_folder: bool) -> None:
    target = job.target
    if target is None:
        return
    if target.suffix.lower() not in FORMATS:
        raise LabError(f"{target}: a name that ends in {', '.join(FORMATS)} is expected")
    if target.exists() and not force:
        raise LabError(f"{target} exists; --force overwrites it")
    if must_have_folder and not target.parent.is_dir():
        raise LabError(f"{target}: there is no folder {target.parent}")
