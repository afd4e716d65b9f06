"""The patch: new texts of the user's files, the unified diff that `git apply` takes, and how it is put in place."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vivavoce.record.run import Run
from vivavoce.repair.errors import RepairError
from vivavoce.repair.specification import Program

CONTEXT = 3  # lines around a change, as in git


def sources_of(program: Program, run: Run) -> dict[Path, str]:
    """The user's files that had a part in the run, by absolute path: the script, and where anything was made or called."""
    sites = [
        site
        for entities in (run.models, run.modules, run.optimizers, run.loaders, run.losses, run.clips, run.nodes)
        for entity in entities.values()
        for name in ("site", "step_site", "zero_grad_site")
        if (site := getattr(entity, name, None)) is not None
    ]
    files = {os.path.join(program.here, program.target), *(site.file for site in sites)}
    return {Path(file): text for file in sorted(files) if (text := _text(program, file)) is not None}


def _text(program: Program, file: str) -> str | None:
    if not any(file.startswith(root + os.sep) for root in program.roots):
        return None
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return None


def base_of(program: Program) -> Path:
    """The folder that the names in the diff start from: that of the git repository, else the script's project."""
    root = Path(program.roots[0])
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


def diff(before: Mapping[Path, str], after: Mapping[Path, str], base: Path) -> str:
    """A unified diff of the changed files, names relative to `base`."""
    parts: list[str] = []
    for path, text in sorted(after.items()):
        old = before.get(path, "")
        if old != text:
            name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix().lstrip("/")
            lines = difflib.unified_diff(_lines(old), _lines(text), f"a/{name}", f"b/{name}", n=CONTEXT)
            parts += [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one, as in git."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def apply(before: Mapping[Path, str], after: Mapping[Path, str]) -> list[Path]:
    """Write the new texts over the user's files; the files written.

    Raises:
        RepairError: a file is no longer what it was when the repair began; then nothing is written.
    """
    changed = [path for path, text in sorted(after.items()) if before.get(path) != text]
    for path in changed:
        if _now(path) != before.get(path):
            raise RepairError(
                f"{path} has changed since the repair began: nothing was written; the patch is in the report"
            )
    for path in changed:
        _replace(path, after[path])
    return changed


def _now(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return None


def _replace(path: Path, text: str) -> None:
    """All or nothing, with the file's permissions."""
    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        os.chmod(name, path.stat().st_mode & 0o7777)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
