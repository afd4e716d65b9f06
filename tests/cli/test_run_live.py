"""The live line, on a pseudo-terminal whose screen is kept here as a terminal would keep it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from vivavoce.cli.live import words

FAKE = Path(__file__).with_name("fake_viva.py")
ROWS, COLUMNS = 10, 60
SECONDS = 30
SEQUENCE = re.compile(r"\x1b(?:\[([0-9;]*)([A-Za-z])|([78DM]))|([\r\n\b])|([^\x1b\r\n\b]+)")


class Screen:
    """As much of a terminal as these tests need: text, cursor, scrolling region, save and restore."""

    def __init__(self, rows: int = ROWS, columns: int = COLUMNS) -> None:
        self.rows, self.columns = rows, columns
        self.lines = [""] * rows
        self.row = self.column = 0
        self.saved = (0, 0)
        self.top, self.bottom = 0, rows - 1
        self.scrolled: list[str] = []

    def feed(self, text: str) -> None:
        for number, command, single, control, plain in SEQUENCE.findall(text):
            if plain:
                self.put(plain)
            elif control:
                self.control(control)
            elif single:
                self.single(single)
            else:
                self.sequence([int(part or 0) for part in number.split(";")], command)

    def put(self, text: str) -> None:
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = (line[: self.column] + text + line[self.column + len(text) :]).rstrip("\n")
        self.column += len(text)

    def control(self, sign: str) -> None:
        if sign == "\n":
            self.index()
        elif sign == "\r":
            self.column = 0
        else:
            self.column -= 1

    def index(self) -> None:
        if self.row == self.bottom:
            self.scrolled.append(self.lines.pop(self.top))
            self.lines.insert(self.bottom, "")
        elif self.row < self.rows - 1:
            self.row += 1

    def single(self, sign: str) -> None:
        if sign == "7":
            self.saved = (self.row, self.column)
        elif sign == "8":
            self.row, self.column = self.saved
        else:
            assert sign == "D", sign
            self.index()

    def sequence(self, numbers: list[int], command: str) -> None:
        if command == "r":
            self.top, self.bottom = (numbers[0] - 1, numbers[1] - 1) if len(numbers) == 2 else (0, self.rows - 1)
            self.row = self.column = 0
        elif command == "H":
            self.row, self.column = min(numbers[0], self.rows) - 1, numbers[1] - 1
        elif command == "A":
            self.row = max(self.row - max(numbers[0], 1), self.top)
        elif command == "K":
            assert numbers == [2]
            self.lines[self.row] = ""
        else:
            assert command == "m", command


class Terminal:
    """Runs the command on a pseudo-terminal and shows it on a `Screen`."""

    def __init__(
        self, folder: Path, script: str, *options: str, behaviour: str = "finding", **environment: str
    ) -> None:
        (folder / "torch.py").write_text("def train(): pass\n")
        self.folder = folder
        (folder / "script.py").write_text(WAIT + script)
        self.screen = Screen()
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        clean = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE), "run", *options, "script.py"],
            cwd=folder,
            env={**clean, "FAKE": behaviour, "TERM": "xterm", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text = ""

    def read_until(self, condition) -> None:
        """Read until `condition(self)`, the end of the output, or the time is up."""
        deadline = time.monotonic() + SECONDS
        while not condition(self) and time.monotonic() < deadline:
            if not select.select([self.master], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(self.master, 65536).decode()
            except OSError:  # the last process on the terminal has gone
                return
            self.text += piece
            self.screen.feed(piece)

    def go_on(self) -> None:
        """Let a script that waits go on, once the line is shown."""
        self.read_until(is_shown)
        assert is_shown(self)
        (self.folder / "go").touch()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        old = self.screen
        self.screen = Screen(rows, columns)
        self.screen.lines = (old.lines + [""] * rows)[:rows]

    def close(self) -> int:
        self.read_until(lambda _: False)
        os.close(self.master)
        return self.process.wait(SECONDS)


def is_shown(terminal: Terminal) -> bool:
    return terminal.screen.lines[-1].startswith("viva ▸ step 1,234")


WAIT = """
import os, sys, time, torch
def wait():
    while not os.path.exists("go"): time.sleep(0.02)
"""
PRINTING = """
print("one", flush=True)
print("partial ", end="", flush=True)
wait()
print("goes on", flush=True)
for i in range(30):
    sys.stderr.write(f"\\rbar {i}"); sys.stderr.flush()
    if i % 3 == 0: print(" line", i, flush=True)
time.sleep(0.8)  # long enough for another drawing in most runs; right without one too
print("last", flush=True)
"""


def test_text_and_line_do_not_collide(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, PRINTING, behaviour="nothing")
    terminal.read_until(is_shown)
    assert (terminal.screen.top, terminal.screen.bottom) == (0, ROWS - 2)
    terminal.go_on()
    assert terminal.close() == 0
    lines = [line for line in terminal.screen.scrolled + terminal.screen.lines if line]
    bars = [f"bar {i}" + (f" line {i}" if i % 3 == 0 else "") for i in range(30)]
    expected = ["one", "partial goes on", *[bar for bar in bars if "line" in bar], "bar 29last"]
    assert [line for line in lines if line in expected] == expected
    assert not any("step 1,234" in line for line in lines)
    assert (terminal.screen.top, terminal.screen.bottom) == (0, ROWS - 1)


@pytest.mark.parametrize(
    ("ending", "exit_code"),
    [
        ("1/0", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os; os._exit(4)", 4),
    ],
)
def test_the_row_is_given_back_however_the_script_ends(tmp_path: Path, ending: str, exit_code: int) -> None:
    terminal = Terminal(tmp_path, f"wait()\n{ending}\n")
    terminal.go_on()
    assert terminal.close() == exit_code
    assert (terminal.screen.top, terminal.screen.bottom) == (0, ROWS - 1)
    assert not any("step 1,234" in line for line in terminal.screen.lines)


def test_resize(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "wait()")
    terminal.read_until(is_shown)
    terminal.resize(8, 40)
    terminal.go_on()
    assert terminal.screen.bottom == 6
    assert terminal.close() == 0
    assert terminal.screen.bottom == 7


@pytest.mark.parametrize(
    ("options", "environment"),
    [(("--no-live",), {}), (("--quiet",), {}), ((), {"CI": "1"}), ((), {"TERM": "dumb"}), ((), {"RANK": "1"})],
)
def test_no_line_where_none_is_wanted(tmp_path: Path, options: tuple[str, ...], environment: dict[str, str]) -> None:
    terminal = Terminal(tmp_path, "import time, torch; time.sleep(0.8)", *options, **environment)
    assert terminal.close() == 0
    assert "step 1,234" not in terminal.text


def test_the_script_sees_no_thread_and_no_child_of_ours(tmp_path: Path) -> None:
    script = (
        "import threading\nwait()\n"
        "print('threads', threading.active_count())\n"
        "try: os.wait()\nexcept ChildProcessError: print('no children')\n"
    )
    terminal = Terminal(tmp_path, script)
    terminal.go_on()
    assert terminal.close() == 0
    assert "threads 1" in terminal.text
    assert "no children" in terminal.text
    assert "step 1,234" in terminal.text


@pytest.mark.parametrize("width", [5, 20, 40, 60, 200])
def test_words_fit(width: int) -> None:
    status = SimpleNamespace(
        step=12_345, loss=0.123456, gradient_norm=float("inf"), overhead=0.0123, worst="guessing", severity="warning"
    )
    whole = "viva ▸ step 12,345 · loss 0.1235 · ‖gradient‖ inf · overhead 1.2 % · guessing"
    assert words(status, width) == whole[:width]
    assert re.sub(r"\x1b\[[0-9;]*m", "", words(status, width, colour=True)) == whole[:width]


def test_words_of_an_unknown_status() -> None:
    status = SimpleNamespace(step=0, loss=None, gradient_norm=None, overhead=None, worst=None, severity=None)
    assert words(status, 80) == "viva ▸ step 0"
