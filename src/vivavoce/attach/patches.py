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

    def wrap(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace `owner.name` by `make(original)`. An owner without that name is left alone."""
        original = getattr(owner, name, None)
        if original is None:
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
            owner, name, before, value = self._done.pop()
            if vars(owner).get(name) is not value:
                continue  # somebody else has wrapped the wrapper: leave theirs in place, ours passes through
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The originals are back in place inside the block."""
        done = list(self._done)
        self.restore()
        try:
            yield
        finally:
            for owner, name, _, value in done:
                self.replace(owner, name, value)
