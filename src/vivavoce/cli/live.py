r"""The live line: the state of the training on the terminal's last row while the script prints above it.

The last row is taken out of the scrolling region (DECSTBM, `ESC [ top ; bottom r`, as package managers do for their
progress bars), so that nothing the script prints, bars that redraw themselves included, collides with it. Each
drawing is one write that saves the cursor and puts it back. A process that is killed cannot give the row back:
a sleeping shell that waits for the end of a pipe does it then. Where there is no such shell there is no live line.
"""

from __future__ import annotations

import _thread
import os
import subprocess
from collections.abc import Callable
from typing import Any, Protocol, TextIO

INTERVAL = 0.5  # seconds between drawings: twice a second is as fast as a reader follows
FEWEST_ROWS = 5  # on a lower terminal a reserved row takes too much
FEWEST_COLUMNS = 20
PATIENCE = 1.0  # seconds to wait for a drawing under way when the run ends

COLOURS = {"critical": "1;31", "warning": "1;33", "note": "1;36"}

# Reads one line; where the pipe ends without one its writer has died, and the row is given back in its stead.
_GUARD = r"""exec 3<&0; (trap '' HUP INT TERM QUIT; read -r line <&3 || printf '\0337\033[r\033[999;1H\033[2K\0338') 2>/dev/null &"""


class Status(Protocol):
    """What there is to say; `worst` is the slug of the gravest finding so far and `severity` its level."""

    @property
    def step(self) -> int | None: ...  # noqa: D102
    @property
    def loss(self) -> float | None: ...  # noqa: D102
    @property
    def gradient_norm(self) -> float | None: ...  # noqa: D102
    @property
    def overhead(self) -> float | None: ...  # noqa: D102
    @property
    def worst(self) -> str | None: ...  # noqa: D102
    @property
    def severity(self) -> str | None: ...  # noqa: D102


class Source(Protocol):
    """Whatever knows the status; asked from the drawing thread."""

    def status(self) -> Status:
        """The status now, at no cost to the training."""


class LiveLine:
    """Draws the line twice a second from a thread of its own, from the first training step to `stop`."""

    def __init__(self, descriptor: int, source: Callable[[], Source | None], colour: bool) -> None:
        self._descriptor = descriptor
        self._source = source
        self._colour = colour
        self._process = os.getpid()
        self._size: os.terminal_size | None = None  # of the terminal whose last row is ours
        self._guard: int | None = None  # writing end of the guard's pipe
        self._running = _thread.allocate_lock()  # held until `stop`
        self._drawing = _thread.allocate_lock()  # held by the thread while it lives

    @classmethod
    def on(cls, stream: TextIO | None, source: Callable[[], Source | None]) -> LiveLine | None:
        """A line that is being drawn on `stream`; None where that is no terminal which can show one."""
        descriptor = _terminal(stream)
        if descriptor is None:
            return None
        line = cls(descriptor, source, colour=not os.environ.get("NO_COLOR"))
        line._running.acquire()
        line._drawing.acquire()
        _thread.start_new_thread(line._draw_until_stopped, ())  # unlike threading.Thread not seen by the script
        return line

    def stop(self) -> None:
        """Give the row back. Does nothing in a forked copy of the process, and the second time."""
        if os.getpid() != self._process or not self._running.locked():
            return
        self._running.release()
        if self._drawing.acquire(timeout=PATIENCE):
            self._give_back()

    def _draw_until_stopped(self) -> None:
        try:
            while not self._running.acquire(timeout=INTERVAL):
                self._draw()
        except Exception:
            pass  # a terminal that is gone; the training goes on
        finally:
            self._drawing.release()

    def _draw(self) -> None:
        source = self._source()
        if source is None or not _in_foreground(self._descriptor):
            return
        status = source.status()
        if status.step is None:
            return
        size = os.get_terminal_size(self._descriptor)
        if size != self._size and not self._reserve(size):
            return
        text = words(status, size.columns - 1, self._colour)
        # The region is set anew each time: a program that cleared or resized the screen has undone it.
        self._write(f"\0337\033[1;{size.lines - 1}r\033[{size.lines};1H\033[0m\033[2K{text}\033[0m\0338")

    def _reserve(self, size: os.terminal_size) -> bool:
        """Make room on the last row, keeping the cursor where it is in the text. False where it cannot be had."""
        if size.lines < FEWEST_ROWS or size.columns < FEWEST_COLUMNS:
            if self._size is not None:
                self._release_region()
            return False
        if self._guard is None:
            self._guard = _start_guard(self._descriptor)
        self._size = size
        # Index (ESC D) scrolls a full screen up by one and, unlike a line feed, keeps the column.
        self._write(f"\033D\033[1A\0337\033[1;{size.lines - 1}r\0338")
        return True

    def _give_back(self) -> None:
        if self._size is not None:
            self._release_region()
        if self._guard is not None:
            os.write(self._guard, b"done\n")
            os.close(self._guard)
            self._guard = None

    def _release_region(self) -> None:
        assert self._size is not None
        try:
            self._write(f"\0337\033[r\033[{self._size.lines};1H\033[0m\033[2K\0338")
        except OSError:
            pass
        self._size = None

    def _write(self, text: str) -> None:
        os.write(self._descriptor, text.encode("utf-8", "replace"))


def words(status: Status, width: int, colour: bool = False) -> str:
    """The line, at most `width` columns wide; colours mark only the finding."""
    parts = [f"viva ▸ step {status.step:,}"]
    if status.loss is not None:
        parts.append(f"loss {status.loss:.4g}")
    if status.gradient_norm is not None:
        parts.append(f"‖gradient‖ {status.gradient_norm:.3g}")
    if status.overhead is not None:
        parts.append(f"overhead {100 * status.overhead:.1f} %")
    guarded = getattr(status, "guarded", 0)
    if guarded:
        parts.append(f"guard acted {guarded:,} ×")
    plain = " · ".join(parts)[:width]
    if not status.worst:
        return plain
    finding = f" · {status.worst}"[: width - len(plain)]
    code = COLOURS.get(status.severity or "")
    return f"{plain}\033[{code}m{finding}\033[0m" if colour and code else plain + finding


def _terminal(stream: Any) -> int | None:
    """The descriptor of a terminal that understands escape sequences, None where `stream` is none."""
    if os.name != "posix" or os.environ.get("TERM", "dumb") == "dumb":
        return None
    try:
        descriptor: int = stream.fileno()
        return descriptor if os.isatty(descriptor) else None
    except (AttributeError, OSError, ValueError):
        return None


def _in_foreground(descriptor: int) -> bool:
    """Whether the terminal is ours to draw on: a job in the background must not."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


def _start_guard(descriptor: int) -> int:
    """Start the shell that gives the row back should this process die; the writing end of its pipe.

    It is no child of ours, so that a script that waits for its children never meets it.
    """
    reading, writing = os.pipe()
    try:
        command = ["/bin/sh", "-c", _GUARD]
        subprocess.Popen(
            command, stdin=reading, stdout=descriptor, stderr=subprocess.DEVNULL, start_new_session=True
        ).wait()
    finally:
        os.close(reading)
    os.register_at_fork(after_in_child=lambda: _close(writing))
    return writing


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass
