"""Trials as processes on this machine, as many at a time as fit in cores and memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from vivavoce.repair.engine import MOST_ATTEMPTS, MOST_WORKERS, Engine, Job, cores, lost
from vivavoce.repair.errors import RepairError
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.supervision import conduct

ROOM = 0.8  # of the free memory that trials may fill


class LocalEngine(Engine):
    """Processes of this machine."""

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise RepairError(f"at least one trial must run at a time, not {workers}")
        self.workers = workers or min(cores(), MOST_WORKERS)
        self._stopped = threading.Event()

    def fit(self, memory: int, device_memory: int) -> None:
        """Run no more trials at a time than have room in memory, and on the device if they use one."""
        if memory and (free := free_memory()):
            self.workers = max(1, min(self.workers, int(ROOM * free / memory)))
        if device_memory:
            self.workers = max(1, min(self.workers, int(ROOM * free_device_memory() / device_memory)))

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of each job, as they end."""
        pool = ThreadPoolExecutor(self.workers)
        try:
            for future in as_completed([pool.submit(self._conduct, job) for job in jobs]):
                yield future.result()
        except BaseException:
            self.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """End all trials."""
        self._stopped.set()

    def _conduct(self, job: Job) -> Outcome:
        """Run a job; once more where its process was killed by a signal that we did not send."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            if self._stopped.is_set():
                return lost(job, "interrupted", attempt)
            outcome = conduct(
                job.specification, judge=job.judge, stopping=self._stopped.is_set, keep=job.keep, limit=job.limit
            )
            died = outcome.ended == "lost" and (outcome.exit_code or 0) < 0
            if not died or self._stopped.is_set():
                break
        return replace(outcome, attempts=attempt)


def free_memory() -> int:
    """Bytes of memory that are free; 0 where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def free_device_memory() -> int:
    """Bytes free on the first CUDA device."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0
