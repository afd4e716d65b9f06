"""Runs programs under Viva and keeps, for each run, its store and its JSON report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _collection import CACHE, Variant

TIME_LIMIT = 300.0  # seconds of wall time for one run
FOLDER = CACHE / "watched"


@dataclass(frozen=True)
class Watched:
    """A run under Viva: the report as the JSON schema has it, or why there is none."""

    variant: Variant
    seed: int
    report: dict[str, Any] | None
    error: str


def run_all(jobs: Iterable[tuple[Variant, int]], processes: int, *, resume: bool) -> Iterator[Watched]:
    """Every variant with its seed, in that order. With `resume`, runs that have a report are not run again."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(lambda job: _run(*job, resume=resume), jobs)


def examine_all(jobs: Iterable[tuple[Variant, int]], processes: int) -> Iterator[Watched]:
    """Examines the stores of earlier runs again, as they were recorded, and writes their reports anew."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(lambda job: _examine(*job), jobs)


def read(variant: Variant, seed: int) -> Watched:
    """The report of an earlier run, if there is one."""
    path = _folder(variant, seed) / "report.json"
    if not path.exists():
        return Watched(variant, seed, None, "not run")
    return Watched(variant, seed, json.loads(path.read_text()), "")


def _folder(variant: Variant, seed: int) -> Path:
    return FOLDER / f"{variant.digest}-{seed}"


def _run(variant: Variant, seed: int, *, resume: bool) -> Watched:
    folder = _folder(variant, seed)
    if resume and (folder / "report.json").exists():
        return read(variant, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = ["--dir", "stores", "--json", "report.json", "--no-live", "--quiet"]
    return _call(["run", *options, str(variant.write()), "--seed", str(seed)], variant, seed)


def _examine(variant: Variant, seed: int) -> Watched:
    stores = sorted((_folder(variant, seed) / "stores").glob("*.db"))
    if not stores:
        return Watched(variant, seed, None, "no store")
    return _call(["report", str(stores[-1]), "--format", "json", "--output", "report.json", "--force"], variant, seed)


def _call(arguments: list[str], variant: Variant, seed: int) -> Watched:
    """Calls Viva in the folder of the run; the script's own failure is no error here."""
    folder = _folder(variant, seed)
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vivavoce", *arguments],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Watched(variant, seed, None, f"took longer than {TIME_LIMIT:.0f} s")
    (folder / "seconds").write_text(f"{time.monotonic() - started:.2f}\n")
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    found = read(variant, seed)
    return found if found.report else Watched(variant, seed, None, f"exit {done.returncode}: {done.stderr[-300:]}")
