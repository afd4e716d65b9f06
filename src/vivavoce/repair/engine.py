"""Where trials run: the base of the engines."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vivavoce.repair.outcome import Outcome
from vivavoce.repair.specification import Specification
from vivavoce.repair.supervision import Judge

MOST_WORKERS = 4  # trials at a time on one machine, unless it is said otherwise: each may use several threads
MOST_ATTEMPTS = 3  # starts of a trial whose worker died


@dataclass(frozen=True)
class Job:
    """A trial to run: the specification, who judges it on the way, where its recorded run is kept, its limit in seconds."""

    specification: Specification
    judge: Judge | None = None
    keep: Path | None = None
    limit: float | None = None


class Engine(ABC):
    """Runs trials. `workers` is how many at a time."""

    name: ClassVar[str]
    workers: int

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of each job, as they end. Ended early by KeyboardInterrupt, it leaves no process behind."""

    @abstractmethod
    def stop(self) -> None:
        """End all trials; may be called from any thread."""

    @abstractmethod
    def fit(self, memory: int, device_memory: int) -> None:
        """Run no more trials at a time than have room, given what one needs in bytes."""


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def lost(job: Job, message: str, attempts: int = 1) -> Outcome:
    """The outcome of a job that came to nothing."""
    specification = job.specification
    return Outcome(specification.arm, specification.seed, "lost", message, attempts=attempts)
