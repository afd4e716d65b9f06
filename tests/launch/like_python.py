"""Runs the same program under plain python and under viva, for the tests that compare the two."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

OUR_LINES = ("viva ▸ ".encode(), rb"viva \u25b8 ")  # the second where the stream holds ASCII only
ADDRESSES = re.compile(rb"0x[0-9a-f]+|started \d+")
SECONDS = 120  # a case that hangs fails


@dataclass(frozen=True)
class Case:
    """A program: its files, the words after `python`, and what it must show so that the comparison means something."""

    name: str
    files: dict[str, str | bytes]
    words: tuple[str, ...] = ("script.py",)
    shows: str = ""  # somewhere in the output or the errors of plain python
    exit_code: int = 0
    stdin: bytes = b""
    environment: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # symlink: what it points to
    flags: tuple[str, ...] = ()  # python's own options


@dataclass(frozen=True)
class Result:
    stdout: bytes
    stderr: bytes
    exit_code: int


def write(case: Case, folder: Path) -> None:
    for name, text in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode())
    for link, goal in case.links.items():
        (folder / link).symlink_to(goal)


def execute(case: Case, folder: Path, before: tuple[str, ...]) -> Result:
    """Run python with `before` in front of the case's words."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIVA"))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **case.environment}
    done = subprocess.run(
        [sys.executable, *case.flags, *before, *case.words],
        cwd=folder,
        env=environment,
        input=case.stdin,
        capture_output=True,
        timeout=SECONDS,
    )
    return Result(ADDRESSES.sub(b"ADDRESS", done.stdout), ADDRESSES.sub(b"ADDRESS", done.stderr), done.returncode)


def without_our_lines(stderr: bytes) -> bytes:
    return b"".join(line for line in stderr.splitlines(keepends=True) if not line.startswith(OUR_LINES))
