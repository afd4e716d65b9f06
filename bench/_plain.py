"""Runs programs plainly, without Viva, to learn whether a fault measurably hurts against its healthy twin."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import re
import runpy
import statistics
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from _collection import CACHE, Program, Variant

METRIC_LINE = re.compile(r"^METRIC (\S+) (\S+)$", re.MULTILINE)
TIME_LIMIT = 1800.0  # seconds of wall time for one run: other programs may use the machine
HURT_FRACTION = 0.05  # of the way from the healthy to the trivial score
# "Worse" means: the median over seeds is worse than the healthy median by more than HURT_FRACTION of that way,
# and worse than every healthy seed; or it is not finite.


@dataclass(frozen=True)
class PlainRun:
    """One run of one script: the metric it printed (NaN if none), CPU seconds without imports, and its error."""

    metric: float
    seconds: float
    steps: int
    error: str


@dataclass(frozen=True)
class Effect:
    """What a variant does to the metric. `hurts` is None for the healthy twin."""

    median: float
    metrics: list[float]
    steps: int
    seconds: float
    hurts: bool | None
    loss_of_range: float | None  # 0: as good as healthy, 1: as bad as the trivial score
    error: str


def run_all(
    jobs: Iterable[tuple[Variant, int]], processes: int, *, cached_only: bool = False
) -> Iterator[tuple[Variant, int, PlainRun]]:
    """Every variant with its seed, as it finishes; results of earlier calls are taken from the cache."""
    missing = []
    for variant, seed in jobs:
        path = _cache_path(variant, seed)
        if path.exists():
            yield variant, seed, PlainRun(**json.loads(path.read_text()))
        elif not cached_only:
            missing.append((variant, seed))
    if missing:
        _import_heavy_modules()
        with ThreadPoolExecutor(processes) as pool:
            yield from pool.map(lambda job: (*job, _run(*job)), missing)


def effects(program: Program, runs: dict[str, list[PlainRun]]) -> dict[str, Effect]:
    """The effect of each variant of a program, from its runs by key (the program's own name is the healthy twin)."""
    healthy = [run.metric for run in runs[program.name]]
    return {key: _effect(program, healthy, key, rows) for key, rows in runs.items()}


def is_healthy(program: Program, effect: Effect) -> bool:
    """Whether the healthy twin clearly learns: its median is as good as its description demands."""
    return math.isfinite(effect.median) and program.metric.gain(program.metric.healthy, effect.median) >= 0


def _effect(program: Program, healthy: list[float], key: str, rows: list[PlainRun]) -> Effect:
    values = [row.metric for row in rows]
    middle = _median(values)
    lost = program.metric.gain(middle, _median(healthy)) / program.metric.gain(program.metric.trivial, _median(healthy))
    worst = min(healthy) if program.metric.better == "higher" else max(healthy)
    hurts = not math.isfinite(middle) or (lost > HURT_FRACTION and program.metric.gain(middle, worst) > 0)
    return Effect(
        median=middle,
        metrics=values,
        steps=round(statistics.median(row.steps for row in rows)),
        seconds=round(statistics.median(row.seconds for row in rows), 2),
        hurts=None if key == program.name else hurts,
        loss_of_range=None if key == program.name else round(lost, 4),
        error=next((row.error for row in rows if row.error), ""),
    )


def _median(values: list[float]) -> float:
    """The median, where a NaN counts as worse than anything: it wins if half of the values are NaN."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if len(finite) * 2 > len(values) else math.nan


def _cache_path(variant: Variant, seed: int) -> Path:
    return CACHE / "plain" / f"{variant.digest}-{seed}.json"


def _import_heavy_modules() -> None:
    """Imports once, so that the forked runs need not."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import sklearn.datasets
    import sklearn.model_selection
    import sklearn.preprocessing  # noqa: F401
    import torch

    torch.set_num_threads(1)


def _run(variant: Variant, seed: int) -> PlainRun:
    script = variant.write()
    output = CACHE / "plain" / f"{variant.digest}-{seed}.txt"
    output.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(script, seed, output, sender))
    process.start()
    process.join(TIME_LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
        result = PlainRun(math.nan, TIME_LIMIT, 0, f"took longer than {TIME_LIMIT:.0f} s")
    else:
        died = (0, f"exit code {process.exitcode}", 0.0)
        steps, error, seconds = receiver.recv() if receiver.poll() else died
        result = PlainRun(_metric(output.read_text()), seconds, steps, error)
    _cache_path(variant, seed).write_text(json.dumps(asdict(result)))
    return result


def _metric(output: str) -> float:
    lines = METRIC_LINE.findall(output)
    return float(lines[-1][1]) if lines else math.nan


def _child(script: Path, seed: int, output: Path, sender: multiprocessing.connection.Connection) -> None:
    """Runs the script in this forked process, counting optimizer steps."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    steps, started = 0, time.process_time()

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    register_optimizer_step_post_hook(count)
    error = ""
    with output.open("w") as stream:
        sys.stdout = sys.stderr = stream
        sys.argv = [str(script), "--seed", str(seed)]
        try:
            runpy.run_path(str(script), run_name="__main__")
        except Exception as exception:
            traceback.print_exc()
            error = f"{type(exception).__name__}: {exception}".partition("\n")[0]
    sender.send((steps, error, round(time.process_time() - started, 2)))
