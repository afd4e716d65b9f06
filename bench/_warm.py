"""Runs one script after the other under Viva, each in a fork of a process that has imported PyTorch: most of a short run is imports.

{"folder": …, "arguments": […]} lines on standard input; for each, the exit status on standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import sklearn.datasets
import sklearn.model_selection
import sklearn.preprocessing  # noqa: F401
import torch

import vivavoce.cli.ending
import vivavoce.cli.run  # noqa: F401
from vivavoce.cli import main

PAUSE = 0.02  # seconds between looks at a run
TIME_LIMIT = 1800.0  # seconds of wall time for one run: other programs may use the machine


def _wait(process: int) -> int:
    """The exit status of a run; -SIGKILL where it took too long."""
    until = time.monotonic() + TIME_LIMIT
    while time.monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(PAUSE)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGKILL


def _become(job: dict) -> None:
    """Turn this fork into `viva ARGUMENTS` in the folder of the run, with its output in a file."""
    os.chdir(job["folder"])
    out = os.open("output.txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv[:] = ["viva", *job["arguments"]]
    sys.path[0] = job["folder"]


torch.set_num_threads(1)
answers = os.fdopen(os.dup(1), "w", buffering=1)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        break
    answers.write(f"{_wait(child)}\n")
else:
    sys.exit()
_become(job)
main()
