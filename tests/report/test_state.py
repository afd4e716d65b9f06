import os
import subprocess
import sys

from vivavoce.report.state import run_state


def test_a_run_that_said_so_is_finished():
    assert run_state({"finished": 1.0, "pid": os.getpid()}) == "finished"


def test_a_run_whose_process_lives_goes_on():
    assert run_state({"pid": os.getpid()}) == "running"


def gone_process():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_whose_process_is_gone_was_killed():
    assert run_state({"pid": gone_process()}) == "killed"


def test_without_a_process_nothing_is_claimed():
    assert run_state({}) == "running"
