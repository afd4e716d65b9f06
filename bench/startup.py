"""How long does starting take? `import vivavoce` on top of torch, and `viva --help` and its like without torch.

    python bench/startup.py [--repeats 11]

Every repeat starts a fresh interpreter; the cases take turns, so that a busy minute of the machine hits them alike. The
first round fills the bytecode cache and is dropped. Exits 1 where a limit is passed or a light command imports torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

IMPORT_LIMIT_MS = 150.0  # `import vivavoce` after `import torch`
COMMAND_LIMIT_MS = 200.0  # the whole of `viva --help`, interpreter included
VIVA = Path(sys.executable).with_name("viva")

TIMED_IMPORT = """
import time, torch
started = time.perf_counter()
import {module}
print((time.perf_counter() - started) * 1e3)
"""
LIGHT_COMMAND = """
import sys
from vivavoce.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print("torch" in sys.modules, file=sys.stderr)
"""


@dataclass
class Case:
    """Something that is started many times; `once` returns its milliseconds."""

    title: str
    once: Callable[[], float]
    limit_ms: float | None = None
    times: list[float] = field(default_factory=list)

    def median(self) -> float:
        """Median of the repeats, milliseconds."""
        return statistics.median(self.times)


def timed_import(module: str) -> float:
    """Milliseconds that importing `module` adds in an interpreter that has imported torch."""
    return float(python("-c", TIMED_IMPORT.format(module=module)).stdout)


def timed_command(*command: str) -> float:
    """Milliseconds of wall time of a whole process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - started) * 1e3


def imports_torch(arguments: list[str]) -> bool:
    """Whether the command line with these arguments ends with torch imported."""
    return python("-c", LIGHT_COMMAND.format(arguments=arguments)).stderr.split()[-1] == "True"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)


def cases() -> list[Case]:
    """What is timed; the bare interpreter is there for comparison."""
    return [
        Case("python -c pass", lambda: timed_command(sys.executable, "-c", "pass")),
        Case("viva --help", lambda: timed_command(str(VIVA), "--help"), COMMAND_LIMIT_MS),
        Case("viva run --help", lambda: timed_command(str(VIVA), "run", "--help"), COMMAND_LIMIT_MS),
        Case("import vivavoce, after torch", lambda: timed_import("vivavoce"), IMPORT_LIMIT_MS),
        Case(
            "import vivavoce.attach.session, after torch",
            lambda: timed_import("vivavoce.attach.session"),
            IMPORT_LIMIT_MS,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11, help="of each case (11)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times")
    options = parser.parse_args()
    measured = cases()
    for repeat in range(options.repeats + 1):
        for case in measured:
            milliseconds = case.once()
            if repeat:
                case.times.append(milliseconds)
    heavy = [command for command in ("--help", "run --help", "report --help") if imports_torch(command.split())]
    for case in measured:
        limit = "" if case.limit_ms is None else f"limit {case.limit_ms:.0f} ms"
        print(f"{case.title:46} {case.median():7.1f} ms  fastest {min(case.times):7.1f} ms  {limit}")
    print("imports torch:", ", ".join(f"viva {command}" for command in heavy) or "none of viva --help, run, report")
    if options.json:
        options.json.write_text(json.dumps({case.title: case.times for case in measured}, indent=1))
    slow = [case.title for case in measured if case.limit_ms is not None and case.median() > case.limit_ms]
    return 1 if heavy or slow else 0


if __name__ == "__main__":
    sys.exit(main())
