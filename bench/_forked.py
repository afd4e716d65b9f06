"""Trials as forks of this process, which has PyTorch and scikit-learn imported already: most of a short trial is imports.

The benchmark alone does this, to measure more repairs in the same time; costs are then in multiples of a run without imports.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import _plain
from vivavoce.repair import supervision, trial

POLL_SECONDS = 0.05


def install() -> None:
    """Let every trial of this process be a fork of it."""
    _plain._import_heavy_modules()
    supervision.start = Forked


class Forked:
    """The process of a trial, with what `supervision` asks of one."""

    def __init__(self, specification: Path, here: str, environment: dict[str, str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(become(specification, here, environment))

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("trial", timeout or 0)
            time.sleep(POLL_SECONDS)
        return status

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def become(specification: Path, here: str, environment: dict[str, str]) -> int:
    """Become the trial's process; the exit status."""
    scratch = specification.parent
    for number, name in ((1, "output.txt"), (2, "errors.txt")):
        os.dup2(os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
    os.chdir(here)
    os.environ.clear()
    os.environ.update(environment)
    atexit._clear()
    sys.argv = [trial.__file__, str(specification)]
    sys.path.insert(0, str(Path(trial.__file__).parent))
    status = 0
    try:
        trial.main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status
