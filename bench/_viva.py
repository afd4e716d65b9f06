"""Viva as an arm of the benchmark: everything that `viva run` does at default settings, in this process."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from _arms import Arm
from _interleave import Arms, Hooks
from _workloads import Workload
from vivavoce.attach import examination
from vivavoce.attach.session import Session
from vivavoce.settings import Settings

WATCHED_SHARE = 0.5  # of the wall time of a comparison


class WatchedClock(threading.Event):
    """Stands for the recorder's stop event: waits in watched time, and says whether the background is at work.

    The background thread has clocks of its own. Without this its flushes and examinations would fall on plain blocks
    as often as on watched ones, and the comparison would not see them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.busy = False
        self._watching = threading.Event()
        self._watched = 0.0
        self._since = 0.0

    def go(self) -> None:
        """A watched block begins."""
        self._since = time.perf_counter()
        self._watching.set()

    def halt(self) -> None:
        """A watched block has ended."""
        self._watching.clear()
        self._watched += time.perf_counter() - self._since

    def wait(self, timeout: float | None = None) -> bool:
        """Return after `timeout` seconds of watched time, or True as soon as the event is set."""
        self.busy = False
        until = self._now() + (timeout or 0.0)
        while not self.is_set():
            self._watching.wait()
            left = until - self._now()
            if left <= 0:
                self.busy = True
                return False
            super().wait(left)
        return True

    def set(self) -> None:
        """Stop."""
        super().set()
        self._watching.set()

    def _now(self) -> float:
        return self._watched + (time.perf_counter() - self._since if self._watching.is_set() else 0.0)


class Viva(Arm):
    """All taps, the recorder with its thread and a store on disk, and the examination while the run goes on."""

    name = "viva"
    records = (
        "loss each step; gradient norm of each parameter each step, spaced where that breaks the budget; weights, updates, "
        "activations of each layer, inputs, predictions on sampled steps; a store on disk; live examination"
    )
    distribution = "vivavoce"
    in_quick = True
    weight = 6.0

    def attach(self, workload: Workload, folder: Path) -> Arms:
        self._session = session = Session(Settings(directory=folder, quiet=True, live=False))
        self._clock = clock = WatchedClock()
        session.recorder._stop = clock
        session.budget._full = session.budget._deep = 0.0  # START_UP_GRANT: paid once a run, and spent before long
        examination.EXAMINATION_SHARE *= WATCHED_SHARE  # its pauses are wall time
        session.install()
        training = workload.build()
        session.uninstall()
        left = time.perf_counter()

        def enter() -> None:
            session.budget.charge_setup(time.perf_counter() - left)  # the plain block is no step of the watched run
            session.install()
            clock.go()

        def leave() -> None:
            nonlocal left
            clock.halt()
            session.uninstall()
            left = time.perf_counter()

        return Arms(training, training, Hooks(busy=lambda: clock.busy), enter, leave)

    def recorded_overhead(self) -> float | None:
        return self._session.budget.overhead

    def details(self) -> dict[str, object]:
        session = self._session
        return {
            "steps": session.step,
            "spent_us_a_step": session.budget.spent / max(session.step, 1) * 1e6,
            "background_seconds": session.recorder.cpu_seconds,
            "faults": session.faults,
        }

    def close(self) -> None:
        examination.EXAMINATION_SHARE /= WATCHED_SHARE
        outcome = self._session.finish()
        self.findings = [] if outcome is None else [finding.slug for finding in outcome.verdict.findings]
