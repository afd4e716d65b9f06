"""The working folder of a trial: the user's folder over again, of which only what is written to is really copied.

Folders are made, small files copied, large ones cloned where the file system can do that and else linked; a link is
turned into a copy at the moment the script opens it for writing (see `fence`). So reads work, relative to the current
directory and to `__file__`, and no trial changes a file of the user's or of another trial.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vivavoce.repair.errors import RepairError
from vivavoce.repair.specification import Program

LARGEST_COPY = 16 * 2**20  # bytes: larger files are cloned or linked
COPIED_AT_MOST = 512 * 2**20  # bytes in all: what comes after is linked
MOST_ENTRIES = 20_000  # files and folders looked at, breadth first; folders after that are linked whole
LEFT_OUT = frozenset({".viva", "__pycache__"})
LINKED = frozenset({".git", ".hg", ".svn", ".venv", "venv", "node_modules", ".tox", ".mypy_cache", ".ruff_cache"})
SOURCES = (".py", ".pyi", ".toml", ".cfg", ".ini", ".yaml", ".yml", ".json")  # copied whatever their number
PROJECT_MARKS = (".git", "pyproject.toml", "setup.py", "setup.cfg")
FICLONE = 0x40049409  # linux/fs.h: make a file share the blocks of another, copy on write


@dataclass
class Workspace:
    """The copy of a program's roots. `places` maps a folder of the user's to its copy; `links` the linked files' state."""

    places: dict[str, str]
    links: dict[str, tuple[int, int]] = field(default_factory=dict)  # the user's file: size, time of change in ns

    def of(self, path: str) -> str:
        """Where a file or folder of the user's lies in this workspace; itself where it lies in no root."""
        for root, copy in self.places.items():
            if path == root or path.startswith(root + os.sep):
                return copy + path[len(root) :]
        return path

    def changed(self) -> list[str]:
        """Linked files of the user's that are not what they were: something wrote past the fence."""
        return [file for file, state in self.links.items() if _state(file) != state]


def roots_of(here: Path, script: Path | None) -> tuple[str, ...]:
    """The folders to copy: the project of the script, and the current directory where it lies outside of it."""
    first = _project(script.parent if script else here)
    here = here.resolve()
    if first == here or first in here.parents:
        return (str(first),)
    return (str(here),) if here in first.parents else (str(first), str(here))


def _project(folder: Path) -> Path:
    """The nearest folder upwards that is a project's; this one where there is none below the home folder."""
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if candidate in (Path.home(), Path(candidate.anchor)):
            break
        if any((candidate / mark).exists() for mark in PROJECT_MARKS):
            return candidate
    return folder


def make(program: Program, scratch: Path, overrides: Mapping[str, str]) -> Workspace:
    """Copy the program's roots below `scratch` and put the new texts in place.

    Raises:
        RepairError: a root does not exist, or a new text belongs to none of them.
    """
    workspace = Workspace({})
    for number, root in enumerate(program.roots):
        if not os.path.isdir(root):
            raise RepairError(
                f"there is no folder {root} on this machine: trials need the script's folder at this path"
            )
        copy = scratch / str(number) / (os.path.basename(root) or "root")
        workspace.places[root] = str(copy)
        _copy_tree(root, copy, workspace, scratch)
    for file, text in overrides.items():
        _override(Path(workspace.of(file)), file, text)
    return workspace


def _override(place: Path, file: str, text: str) -> None:
    if str(place) == file:
        raise RepairError(f"{file} lies outside of the script's folder: a patched copy of it cannot be tried")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_text(text, encoding="utf-8", newline="")


def _copy_tree(root: str, copy: Path, workspace: Workspace, scratch: Path) -> None:
    copy.mkdir(parents=True)
    todo: deque[tuple[str, Path]] = deque([(root, copy)])
    seen = copied = 0
    while todo:
        folder, target = todo.popleft()
        for entry in _entries(folder):
            seen += 1
            place = target / entry.name
            if entry.is_dir(follow_symlinks=False):
                if os.path.realpath(entry.path) == str(scratch) or entry.name in LEFT_OUT:
                    continue
                if _is_linked(entry) or seen > MOST_ENTRIES:
                    place.symlink_to(os.path.abspath(entry.path))
                else:
                    place.mkdir()
                    todo.append((entry.path, place))
            else:
                copied += _copy_file(entry, place, workspace, copied)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from sorted(entries, key=lambda entry: entry.name)


def _is_linked(entry: os.DirEntry[str]) -> bool:
    """Folders that no training writes to, and the caches of the home folder where that is a root."""
    if entry.name.startswith(".") and os.path.dirname(entry.path) == str(Path.home()):
        return True
    return entry.name in LINKED or os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))


def _copy_file(entry: os.DirEntry[str], place: Path, workspace: Workspace, copied: int) -> int:
    """Copy, clone or link a file; the bytes copied. Sockets, pipes and dangling links are left out."""
    source = os.path.realpath(entry.path)
    if os.path.isdir(source):  # a link to a folder
        place.symlink_to(source)
    if not os.path.isfile(source):
        return 0
    size = os.path.getsize(source)
    small = size <= LARGEST_COPY and copied + size <= COPIED_AT_MOST
    if small or source.endswith(SOURCES):
        shutil.copy2(source, place)
        return size
    if not _clone(source, place):
        place.symlink_to(source)
        workspace.links[source] = _state(source)
    return 0


def _state(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return (-1, -1)
    return (found.st_size, found.st_mtime_ns)


def _clone(source: str, place: Path) -> bool:
    """Share the blocks of `source`; False where the file system cannot."""
    try:
        import fcntl

        with open(source, "rb") as old, open(place, "xb") as new:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
    except (OSError, ImportError):
        place.unlink(missing_ok=True)
        return False
    return True
