"""The checks of a preflight as a table for people."""

from __future__ import annotations

from typing import TextIO

from vivavoce.report import words
from vivavoce.report.schema import CheckData, PreflightData

SIGNS = {"ok": "ok", "suspicious": "suspicious", "failed": "FAILED", "unchecked": "not checked"}
_WIDTH = max(map(len, SIGNS.values()))


def write_table(preflight: PreflightData, stream: TextIO) -> None:
    """Write one line a check: what became of it, its name, and why. Plain text, so that it can be searched."""
    for line in table(preflight):
        try:
            stream.write(line + "\n")
        except UnicodeEncodeError:
            stream.write(line.encode("ascii", "replace").decode() + "\n")
    stream.flush()


def table(preflight: PreflightData) -> list[str]:
    """The lines of the table."""
    names = max((len(check["name"]) for check in preflight["checks"]), default=0)
    return [
        f"viva ▸ preflight: {course(preflight)}",
        *(f"  {sign:{_WIDTH}}  {name:{names}}  {why}" for sign, name, why in rows(preflight)),
    ]


def course(preflight: PreflightData) -> str:
    """What was done, in a line."""
    steps, seconds = words.steps(preflight["steps"]), float(preflight["seconds"])
    return f"{steps} of the script, then {seconds:.1f} s of checks on a copy"


def rows(preflight: PreflightData) -> list[tuple[str, str, str]]:
    """What became of each check, its name, and why."""
    return [(SIGNS[check["status"]], words.plain(check["name"]), _why(check)) for check in preflight["checks"]]


def _why(check: CheckData) -> str:
    because = "because " if check["status"] == "unchecked" else ""
    return because + words.plain(check["why"])
