"""Replaces functions of PyTorch by wrappers, and puts every one of them back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_MISSING = object()


class Patches:
    """The replacements of one tap. `restore` undoes those that nobody has replaced since."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []  # owner, name, what stood in its __dict__, wrapper
        self._covered: list[tuple[Any, str, Any, Any]] = []  # the same, of wrappers that somebody else has wrapped

    def wrap(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace `owner.name` by `make(original)`. An owner without that name is left alone.

        So is one where an earlier wrapper of ours is at work under somebody else's.
        """
        original = getattr(owner, name, None)
        if original is None or self._uncover(owner, name):
            return
        wrapper = functools.wraps(original)(make(original))
        self.replace(owner, name, wrapper)

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set `owner.name` and remember what stood there."""
        self._done.append((owner, name, vars(owner).get(name, _MISSING), value))
        setattr(owner, name, value)

    def restore(self) -> None:
        """Put everything back, last replacement first."""
        while self._done:
            entry = self._done.pop()
            if not _undo(*entry):
                self._covered.append(entry)  # theirs stays in place, ours passes through

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The originals are back in place inside the block, but for those under somebody else's wrapper."""
        undone = [entry for entry in reversed(self._done) if _undo(*entry)]
        try:
            yield
        finally:
            for owner, name, _, value in reversed(undone):
                setattr(owner, name, value)

    def _uncover(self, owner: Any, name: str) -> bool:
        for entry in self._covered:
            if entry[0] is owner and entry[1] == name:
                self._covered.remove(entry)
                self._done.append(entry)
                if vars(owner).get(name) is entry[2]:  # theirs is gone, and took ours away with it
                    setattr(owner, name, entry[3])
                return True
        return False


def _undo(owner: Any, name: str, before: Any, value: Any) -> bool:
    """Put back what stood at `owner.name` before; False where something else than ours stands there now."""
    if vars(owner).get(name) is not value:
        return False
    if before is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, before)
    return True
