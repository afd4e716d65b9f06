"""What does watching cost? Step time with and without, for Viva, plain recipes and peers, on four training loops.

    python bench/overhead.py            about ten minutes, writes docs/overhead.md
    python bench/overhead.py --quick    about a minute: the harness, Viva and the commonest recipes; writes nothing

The two arms of a comparison run in one process, in short alternating blocks (ABBA BAAB …) of the same loop: data loader,
zero_grad, forward, cross-entropy, backward, clipping where the loop clips, step, a print every 50 steps. A ratio is the
median over pairs of neighbouring blocks, with a 95 % bootstrap interval over the pairs; beside it stands the ratio of the
sums, which also counts steps that are dear but rare. Peers that are not installed are named and left out; they belong
in an environment of their own (bench/peers.txt).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import logging
import os
import platform
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from _arms import Arm, Unavailable
from _interleave import compare
from _lineup import ARMS
from _overhead_page import markdown, table
from _workloads import WORKLOADS, Workload, describe

QUICK_SECONDS = 0.8  # measuring time of an arm of weight 1, a workload
FULL_SECONDS = 4.5
CORE = ("nothing", "viva")  # measured at every thread setting; the others at the first alone
DOCS = Path(__file__).resolve().parent.parent / "docs" / "overhead.md"


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    started = time.perf_counter()
    results = [
        measure(workload, arm, threads, options.seconds)
        for place, threads in enumerate(options.threads)
        for workload in options.workloads
        for arm in options.arms
        if place == 0 or arm.name in CORE
    ]
    report = {"machine": machine(), "command": "python " + " ".join([*sys.argv[:1], *(arguments or sys.argv[1:])])}
    report |= {"seconds": time.perf_counter() - started, "results": results}
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    if options.docs:
        options.docs.write_text(markdown(report))
        print(f"written: {options.docs}", file=sys.stderr)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line, with names resolved to workloads and arms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the commonest arms, about a minute, no docs page")
    parser.add_argument(
        "--threads", default=None, help="torch threads, comma-separated; 'default' is torch's own (1,default; quick: 1)"
    )
    parser.add_argument("--workload", action="append", choices=[w.name for w in WORKLOADS], help="only this one")
    parser.add_argument("--arm", action="append", choices=[arm.name for arm in ARMS], help="only this one")
    parser.add_argument("--seconds", type=float, help="measuring time of an arm of weight 1, a workload")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help=f"write the page (default, full runs only: {DOCS.name})"
    )
    options = parser.parse_args(arguments)
    partial = options.quick or options.workload or options.arm
    options.workloads = [w for w in WORKLOADS if not options.workload or w.name in options.workload]
    wanted = options.arm or [arm.name for arm in ARMS if arm.in_quick or not options.quick]
    options.arms = [arm for arm in ARMS if arm.name in wanted]
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else FULL_SECONDS)
    default = torch.get_num_threads()
    listed = options.threads or ("1" if options.quick else "1,default")
    options.threads = list(dict.fromkeys(default if n == "default" else int(n) for n in listed.split(",")))
    options.docs = options.docs or (None if partial else DOCS)
    return options


def measure(workload: Workload, make: type[Arm], threads: int, seconds: float) -> dict[str, Any]:
    """One arm on one workload: a row of the results, with "failed" in place of numbers where it could not run."""
    torch.set_num_threads(threads)
    row: dict[str, Any] = {"workload": workload.name, "title": workload.title, "threads": threads}
    row |= {"arm": make.name, "records": make.records, "per_layer": make.per_layer, "distribution": make.distribution}
    print(f"{workload.name:7} {make.name:26} ", end="", file=sys.stderr, flush=True)
    arm = make()
    try:
        row["version"] = arm.version()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, quietly():
            row |= measured(arm, workload, Path(folder), seconds * make.weight)
    except Unavailable as reason:
        row["failed"] = str(reason)
    except Exception as error:  # a peer may fail in any way; the table says how
        row["failed"] = f"fails: {type(error).__name__}: {error}".splitlines()[0][:120]
    ending = row.get("failed") or "{ratio:.3f} [{0:.3f}, {1:.3f}]".format(*row["ratio_interval"], ratio=row["ratio"])
    print(ending, file=sys.stderr, flush=True)
    return row


def measured(arm: Arm, workload: Workload, folder: Path, seconds: float) -> dict[str, Any]:
    """The numbers of an arm that runs."""
    try:
        arms = arm.attach(workload, folder)
        pairs = compare(arms, seconds)
        return {
            "loop": describe(arms.plain),
            **pairs.summary(),
            "recorded_overhead": arm.recorded_overhead(),
            "details": arm.details(),
        }
    finally:
        with contextlib.suppress(Exception):
            arm.close()


@contextlib.contextmanager
def quietly() -> Any:
    """Keep what peers print, warn and log out of the progress lines."""
    sink = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "raised_priority": raised_priority(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def raised_priority() -> bool:
    """Whether the scheduler prefers this process to others (Linux: its session's autogroup, its niceness, or real time)."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        session = int(Path("/proc/self/autogroup").read_text().split()[-1])
        return session < 0 or os.nice(0) < 0 or os.sched_getscheduler(0) != os.SCHED_OTHER
    return False


def processor() -> str:
    """The processor's name, where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
