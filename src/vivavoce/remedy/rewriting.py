"""Gives a trial an edited source without touching the file: for remedies that no wrapper of PyTorch could apply."""

from __future__ import annotations

import io
import linecache
import os
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from vivavoce.remedy import live
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError
from vivavoce.remedy.source import Source


def rewrite(remedy: Remedy, prescription: Prescription) -> None:
    """Let Python read the file that a remedy edits as the remedy leaves it.

    Raises:
        RemedyError: the remedy cannot write itself into this source; the message says why.
    """
    source = Source.read(str(prescription.where.get("file", "")))
    if source is None:
        raise RemedyError(f"the source at {prescription.where.get('file')} cannot be read")
    result = remedy.edit(prescription, {source.path: source.text})
    if not isinstance(result, Edit):
        raise RemedyError(f"{result.text}: {result.because}")
    for path, text in result.files.items():
        _stand_in(str(path), text)


def _stand_in(path: str, text: str) -> None:
    data = text.encode()

    def is_it(name: Any) -> bool:
        return isinstance(name, (str, os.PathLike)) and os.path.abspath(name) == os.path.abspath(path)

    def open_code(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda name: io.BytesIO(data) if is_it(name) else original(name)

    def get_code(original: Callable[..., Any]) -> Callable[..., Any]:
        def get(loader: Any, name: str) -> Any:
            file = loader.get_filename(name)
            return loader.source_to_code(data, file) if is_it(file) else original(loader, name)

        return get

    live.wrap(io, "open_code", open_code)
    live.wrap(SourceFileLoader, "get_code", get_code)
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)


def file_of(prescription: Prescription) -> Path:
    """The file that a prescription concerns."""
    return Path(str(prescription.where["file"]))
