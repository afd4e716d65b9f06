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
    checks = preflight["checks"]
    names = max((len(check["name"]) for check in checks), default=0)
    head = f"viva ▸ preflight: {preflight['steps']} steps of the script, then {preflight['seconds']:.1f} s of checks on a copy"
    return [head, *(f"  {SIGNS[c['status']]:{_WIDTH}}  {c['name']:{names}}  {_why(c)}" for c in checks)]


def _why(check: CheckData) -> str:
    because = "because " if check["status"] == "unchecked" else ""
    return because + words.plain(check["why"])
