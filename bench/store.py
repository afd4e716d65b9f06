"""How large a store gets and how fast it is written: python bench/store.py [--steps N] [--columns N].

Feeds one signal at full speed, flushing once for every thousand steps as a fast training would, and prints the size
of the closed file, its largest size while it was written, rows a second, and the time to read it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from vivavoce.record.recorder import Recorder
from vivavoce.record.store import open_run

STEPS_PER_FLUSH = 1000
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.db")
        measure(path, given.steps, given.columns)


def measure(path: Path, steps: int, columns: int) -> None:
    """Write, read, and print."""
    rows = np.random.default_rng(0).standard_normal((STEPS_PER_FLUSH, columns), dtype=np.float32)
    recorder = Recorder(path, flush_seconds=1e6)
    writer = recorder.signal("gradient_norm", ("optimizer", 0), list(range(columns)))
    largest, began, used = 0, time.perf_counter(), time.process_time()
    for step in range(steps):
        writer.append(step, rows[step % STEPS_PER_FLUSH])
        if step % STEPS_PER_FLUSH == STEPS_PER_FLUSH - 1:
            recorder.flush()
            largest = max(largest, sum(file.stat().st_size for file in path.parent.iterdir()))
    recorder.close()
    seconds, used = time.perf_counter() - began, time.process_time() - used
    print(f"{steps:,} rows of {columns} numbers in {seconds:.1f} s: {steps / seconds:,.0f} rows/s")
    print(f"{used / steps * 1e6:.1f} µs of processor time a row, {used / steps / columns * 1e9:.1f} ns a number")
    print(f"file {path.stat().st_size / MB:.1f} MB when closed, at most {largest / MB:.1f} MB with its log before")
    began = time.perf_counter()
    (track,) = open_run(path).tracks("gradient_norm")
    print(f"read in {time.perf_counter() - began:.3f} s: {len(track):,} rows for {track.counts.sum():,}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB:.0f} MB")


if __name__ == "__main__":
    main()
