"""What remedies of data loaders share: the training loader of a run, its call in the source, its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import libcst as cst

from vivavoce.record.entities import Loader
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError
from vivavoce.remedy.source import Source


def training(run: Run) -> list[Loader]:
    """The loaders that were iterated in training and whose place is known."""
    return [loader for loader in run.loaders.values() if loader.role == "train" and loader.site is not None]


def loader_call(source: Source, line: int) -> cst.Call:
    """The call that makes the loader of a line.

    Raises:
        CannotEditError: there is none.
    """
    found = [call for call in source.calls_at(line) if source.code(call.func).endswith("DataLoader")]
    if not found:
        raise CannotEditError(f"there is no DataLoader(…) at line {line}")
    return found[0]


def on_loader(where: Mapping[str, Any], change: Callable[[dict[str, Any], FrameType], None]) -> None:
    """Let `change(arguments by name, frame)` alter the arguments of the loader that is made at a place."""
    from torch.utils.data import DataLoader

    names = list(inspect.signature(DataLoader.__init__).parameters)[1:]

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def init(loader: Any, *args: Any, **kwargs: Any) -> None:
            frame = live.caller(1, loader)
            if frame is not None and live.is_at(frame, where):
                given = {**dict(zip(names, args, strict=False)), **kwargs}
                change(given, frame)
                original(loader, **given)
            else:
                original(loader, *args, **kwargs)

        return init

    live.wrap(DataLoader, "__init__", make)
