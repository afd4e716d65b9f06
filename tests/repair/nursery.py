"""Starts trials as forks of a process that has imported PyTorch: most of a short trial is imports.

Requests are lines of JSON on standard input, answers lines on standard output. `{"start": …}` answers the fork's process id,
`{"poll": id}` its exit status or null.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.02


class Nursery:
    """The process that forks; may be asked from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.repair.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(self, specification: Path, here: str, environment: dict[str, str]) -> Fork:
        """Stands for `supervision.start`."""
        return Fork(self, self.ask(start=[str(specification), here, environment]))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Fork:
    """The process of a trial, with what `supervision` asks of one."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("trial", timeout or 0)
            time.sleep(POLL_SECONDS)
        return status

    def terminate(self) -> None:
        os.kill(self.pid, 15)

    def kill(self) -> None:
        os.kill(self.pid, 9)


def _answer(request: dict[str, Any]) -> Any:
    if "start" in request:
        pid = os.fork()
        if pid == 0:
            os._exit(_become(*request["start"]))
        return pid
    pid, status = os.waitpid(request["poll"], os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _become(specification: str, here: str, environment: dict[str, str]) -> int:
    """Be the trial's process; its exit status."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
    import _forked

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return _forked.become(Path(specification), here, environment)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
