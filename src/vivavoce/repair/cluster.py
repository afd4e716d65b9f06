"""Trials as Ray tasks, on this machine or on a cluster whose machines see the script's folder at the same path."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from vivavoce.repair.engine import MOST_ATTEMPTS, Engine, Job, lost
from vivavoce.repair.errors import RepairError, require
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.reading import Reading
from vivavoce.repair.specification import Specification
from vivavoce.repair.supervision import conduct

POLL_SECONDS = 0.2  # how often the driver looks for ended tasks and for readings
ASK_SECONDS = 1.0  # how often a task asks whether everything is to stop


class RayEngine(Engine):
    """Ray tasks. A cluster that is connected to already is used; else the one at `address`, else one started here.

    Raises:
        MissingPackageError: Ray is not installed.
        RepairError: there is no cluster at the address.
    """

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._ray: Any = require("ray", "ray")
        if not self._ray.is_initialized():
            self._connect(address)
        self._most = workers
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._gpus = 0.0
        self._mailbox = self._ray.remote(num_cpus=0)(_Mailbox).remote()

    def _connect(self, address: str | None) -> None:
        try:
            self._ray.init(
                address=address or "local", log_to_driver=False, include_dashboard=False, logging_level="error"
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise RepairError(f"no Ray cluster answers at {address}: {error}") from None

    def fit(self, memory: int, device_memory: int) -> None:
        """One trial a GPU where they use one; memory is Ray's to watch."""
        self._gpus = 1.0 if device_memory else 0.0
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        if device_memory and gpus:
            self.workers = max(1, min(self.workers, gpus))

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of each job, as they end. A job whose worker died is started again."""
        waiting = list(enumerate(jobs))
        running: dict[Any, tuple[int, Job, int]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    index, job = waiting.pop(0)
                    running[self._submit(index, job)] = (index, job, 1)
                ended, _ = self._ray.wait(list(running), timeout=POLL_SECONDS)
                self._judge(jobs)
                for reference in ended:
                    index, job, attempt = running.pop(reference)
                    outcome = self._ended(reference, job, attempt)
                    if outcome is None:
                        running[self._submit(index, job)] = (index, job, attempt + 1)
                    else:
                        yield outcome
        except BaseException:
            self.stop()
            raise

    def _submit(self, index: int, job: Job) -> Any:
        task = self._ray.remote(num_cpus=job.specification.threads, num_gpus=self._gpus, max_retries=0)(_conduct)
        return task.remote(job.specification.to_json(), self._mailbox, index, job.limit)

    def _ended(self, reference: Any, job: Job, attempt: int) -> Outcome | None:
        """The outcome; None where the worker died and the job is to be started again."""
        errors = self._ray.exceptions
        died = (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError)
        try:
            return replace(Outcome.from_json(self._ray.get(reference)), attempts=attempt)
        except died as error:
            if attempt < MOST_ATTEMPTS:
                return None
            return lost(job, f"its worker died {attempt} times: {type(error).__name__}", attempt)
        except errors.RayTaskError as error:
            if isinstance(error.cause, RepairError):
                raise RepairError(str(error.cause)) from None
            raise

    def _judge(self, jobs: Sequence[Job]) -> None:
        """Hand the readings that have come to their judges, and stop what is hopeless."""
        for index, step, data in self._ray.get(self._mailbox.take.remote()):
            judge = jobs[index].judge
            if judge is not None and judge(step, Reading.from_json(data)):
                self._mailbox.stop.remote(index)

    def stop(self) -> None:
        """End all trials."""
        with contextlib.suppress(Exception):
            self._ray.get(self._mailbox.stop_all.remote())


class _Mailbox:
    """An actor between the tasks, which report, and the driver, which judges."""

    def __init__(self) -> None:
        self.readings: list[tuple[int, int, Any]] = []
        self.stopped: set[int] = set()
        self.over = False

    def put(self, index: int, step: int, reading: Any) -> bool:
        self.readings.append((index, step, reading))
        return index in self.stopped

    def take(self) -> list[tuple[int, int, Any]]:
        taken, self.readings = self.readings, []
        return taken

    def stop(self, index: int) -> None:
        self.stopped.add(index)

    def stop_all(self) -> None:
        self.over = True

    def is_over(self) -> bool:
        return self.over


def _conduct(data: dict[str, Any], mailbox: Any, index: int, limit: float | None) -> dict[str, Any]:
    """In a worker: run one trial."""
    import ray

    def judge(step: int, reading: Reading) -> bool:
        return bool(ray.get(mailbox.put.remote(index, step, reading.to_json())))

    specification = Specification.from_json(data)
    reports = judge if specification.report_every else None
    return conduct(specification, judge=reports, stopping=_asking(ray, mailbox), limit=limit).to_json()


def _asking(ray: Any, mailbox: Any) -> Callable[[], bool]:
    asked = [time.monotonic()]

    def stopping() -> bool:
        if time.monotonic() - asked[0] < ASK_SECONDS:
            return False
        asked[0] = time.monotonic()
        return bool(ray.get(mailbox.is_over.remote()))

    return stopping
