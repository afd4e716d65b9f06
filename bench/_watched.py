"""Runs programs under Viva and keeps, for each run, its store, its JSON report, and the report of a later examination."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _collection import CACHE, Variant
from vivavoce.examine.verdict import examine
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.report.build import build_report

TIME_LIMIT = 1800.0  # seconds of wall time for one run: other programs may use the machine
FOLDER = CACHE / "watched"
REPORT, EXAMINED, OUTPUT = "report.json", "examined.json", "output.txt"


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


def run_warm(jobs: Iterable[tuple[Variant, int]], *, resume: bool) -> Iterator[Watched]:
    """The same, one after the other, in forks of a process that has imported PyTorch."""
    command = [sys.executable, str(Path(__file__).with_name("_warm.py"))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for variant, seed in jobs:
            if not (resume and report_of(variant, seed)):
                job = {"folder": str(_emptied(variant, seed)), "arguments": _arguments(variant, seed)}
                nursery.stdin.write(json.dumps(job) + "\n")
                nursery.stdin.flush()
                nursery.stdout.readline()
            yield _said(variant, seed)


def examine_all(jobs: Iterable[tuple[Variant, int]]) -> Iterator[Watched]:
    """Examines the stores of earlier runs again with the detectors as they are now."""
    for variant, seed in jobs:
        run = run_of(variant, seed)
        if run is None:
            yield Watched(variant, seed, None, "no store")
            continue
        report = json.loads(json.dumps(build_report(run, examine(run))))
        (folder_of(variant, seed) / EXAMINED).write_text(json.dumps(report))
        yield Watched(variant, seed, report, "")


def run_of(variant: Variant, seed: int) -> Run | None:
    """The store of an earlier run; None where there is none."""
    stores = sorted((folder_of(variant, seed) / "stores").glob("*.db"))
    return open_run(stores[-1]) if stores else None


def report_of(variant: Variant, seed: int, *, first: bool = False) -> dict[str, Any] | None:
    """The latest report of an earlier run, or with `first` the one made when it was run; None where it was not run."""
    for name in (REPORT,) if first else (EXAMINED, REPORT):
        path = folder_of(variant, seed) / name
        if path.exists():
            return json.loads(path.read_text())
    return None


def folder_of(variant: Variant, seed: int) -> Path:
    """Where a run's store and reports are kept."""
    return FOLDER / f"{variant.digest}-{seed}"


def _emptied(variant: Variant, seed: int) -> Path:
    folder = folder_of(variant, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _arguments(variant: Variant, seed: int) -> list[str]:
    options = ["--dir", "stores", "--json", REPORT, "--no-live", "--quiet"]
    return ["run", *options, str(variant.write()), "--seed", str(seed)]


def _run(variant: Variant, seed: int, *, resume: bool) -> Watched:
    """Calls Viva in the folder of the run; the script's own failure is no error here."""
    if resume and report_of(variant, seed):
        return _said(variant, seed)
    folder = _emptied(variant, seed)
    with (folder / OUTPUT).open("w") as output:
        try:
            subprocess.run(
                [sys.executable, "-m", "vivavoce", *_arguments(variant, seed)],
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Watched(variant, seed, None, f"took longer than {TIME_LIMIT:.0f} s")
    return _said(variant, seed)


def _said(variant: Variant, seed: int) -> Watched:
    report = report_of(variant, seed)
    output = folder_of(variant, seed) / OUTPUT
    error = "" if report else output.read_text()[-300:] if output.exists() else "not run"
    return Watched(variant, seed, report, error)
