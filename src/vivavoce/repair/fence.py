"""Keeps the writes of a trial inside its working folder, by Python's audit events (PEP 578).

A file that is a link to the user's is turned into a copy before it is opened for writing. A write to any other place of the
user's is refused with a PermissionError that says so; temporary files and caches in hidden folders of the home folder are let through.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEVICES = ("/dev", "/proc", "/sys")
ADVICE = "viva repair cannot keep its trials apart there; write below the script's folder, by a relative path"


class Fence:
    """Around the folder `scratch`. `refused` lists the places that the script was kept from writing to."""

    def __init__(self, scratch: Path, roots: tuple[str, ...]) -> None:
        self.scratch = os.path.realpath(scratch)
        self.roots = roots
        self.refused: list[str] = []
        home = os.path.expanduser("~")
        self._free = (os.path.realpath(tempfile.gettempdir()), *DEVICES)
        self._hidden = home.rstrip(os.sep) + os.sep + "."

    def raise_(self) -> None:
        """Put it up; it stays for the life of the process."""
        sys.addaudithook(self._audit)

    def guard_torch(self, torch: ModuleType) -> None:
        """`torch.save` opens files in C++, which no audit event tells of."""
        save: Callable[..., Any] = torch.save

        def guarded(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(f, str | os.PathLike):
                self.check(os.fspath(f))
            return save(obj, f, *args, **kwargs)

        guarded.__name__ = guarded.__qualname__ = "save"
        torch.save = guarded  # type: ignore[attr-defined]

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            writes = any(sign in mode for sign in "wax+") if isinstance(mode, str) else bool((flags or 0) & WRITING)
            if writes and isinstance(path, str | bytes):
                self.check(path)
        elif event in ("os.remove", "os.rmdir", "os.truncate", "sqlite3.connect"):
            self._check_place(args[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._check_place(args[1])

    def _check_place(self, path: Any) -> None:
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str) and path and not path.startswith((":", "file:")):
            folder, name = os.path.split(os.path.abspath(path))
            self._check_real(os.path.join(os.path.realpath(folder), name))

    def check(self, path: str | bytes) -> None:
        """A file is about to be written to: copy what is linked, refuse what is the user's. Raises PermissionError."""
        full = os.path.abspath(os.fsdecode(path))
        if self._inside(full) and os.path.islink(full) and self._inside(os.path.realpath(os.path.dirname(full))):
            _unlink_copy(full)
            return
        self._check_real(os.path.realpath(full))

    def _check_real(self, real: str) -> None:
        if self._inside(real) or self._is_free(real):
            return
        self.refused.append(real)
        raise PermissionError(f"the script writes to {real}: {ADVICE}")

    def _inside(self, path: str) -> bool:
        return path == self.scratch or path.startswith(self.scratch + os.sep)

    def _is_free(self, real: str) -> bool:
        rooted = [root for root in self.roots if _below(real, root)]
        if real.startswith(self._hidden) and not any(root.startswith(self._hidden) for root in rooted):
            return True  # a cache, also where the home folder itself is a root
        if rooted:
            return False
        if f"{os.sep}__pycache__{os.sep}" in real:
            return True
        return any(_below(real, folder) for folder in self._free)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _unlink_copy(link: str) -> None:
    """Put a copy in the place of a link to a file."""
    source = os.path.realpath(link)
    os.unlink(link)
    if os.path.isfile(source):
        shutil.copy2(source, link)
