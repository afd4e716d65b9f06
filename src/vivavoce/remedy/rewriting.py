"""Gives a trial an edited source without touching the file: for remedies that no wrapper of PyTorch could apply."""

from __future__ import annotations

import io
import linecache
import os
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.remedy import live
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError
from vivavoce.remedy.source import Source, method_of


def rewrite(remedy: Remedy, prescription: Prescription) -> None:
    """Let Python read the file that a remedy edits as the remedy leaves it.

    Raises:
        RemedyError: the remedy cannot write itself into this source; the message says why.
    """
    source = source_of(prescription.where)
    result = remedy.edit(prescription, {source.path: source.text})
    if not isinstance(result, Edit):
        raise RemedyError(f"{result.text}: {result.because}")
    for path, text in result.files.items():
        _stand_in(str(path), source.text, text)


def source_of(where: Mapping[str, Any]) -> Source:
    """The file of a place.

    Raises:
        RemedyError: it cannot be read.
    """
    source = Source.read(str(where.get("file", "")))
    if source is None:
        raise RemedyError(f"the source at {where.get('file')} cannot be read")
    return source


def is_compiled(source: Source) -> bool:
    """Whether a script compiles its network: a compiler does not see which line calls a wrapped function."""
    return any(method_of(call) == "compile" or source.is_torch(call.func, "compile") for call in source.all(cst.Call))


def _stand_in(path: str, before: str, after: str) -> None:
    """Let Python read `after` for the file of this path, or for a copy of it in another folder."""
    original, data = before.encode(), after.encode()

    def is_it(name: Any) -> bool:
        if not isinstance(name, (str, os.PathLike)) or os.path.basename(name) != os.path.basename(path):
            return False
        try:
            return Path(name).read_bytes() == original
        except OSError:
            return False

    def open_code(opener: Callable[..., Any]) -> Callable[..., Any]:
        def open_it(name: Any) -> Any:
            if not is_it(name):
                return opener(name)
            _show_lines(name, after)
            return io.BytesIO(data)

        return open_it

    def get_code(getter: Callable[..., Any]) -> Callable[..., Any]:
        def get(loader: Any, name: str) -> Any:
            file = loader.get_filename(name)
            if not is_it(file):
                return getter(loader, name)
            _show_lines(file, after)
            return loader.source_to_code(data, file)

        return get

    live.wrap(io, "open_code", open_code)
    live.wrap(SourceFileLoader, "get_code", get_code)


def _show_lines(path: Any, text: str) -> None:
    """Let tracebacks show the lines that run."""
    linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
