"""`kill -9` at random instants: the file opens and lacks at most what came after the last flush."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vivavoce.record.store import open_run

TRIALS = 50
AT_ONCE = 5  # children alive at the same time; they start while others write
LONGEST_SECONDS = 0.25  # from the first report to the kill

# Writes rows (i, 2i) as fast as it can, with tiny parts so that chunks are merged and replaced all the time,
# and reports how many rows were in the file for certain.
CHILD = """
import sys
from pathlib import Path
from vivavoce.record import history
history.PART_VALUES, history.MIN_ROWS = 128, 16
from vivavoce.record.recorder import Recorder

recorder = Recorder(Path(sys.argv[1]), {"command": "child"}, flush_seconds=0.003)
writer = recorder.signal("rows", None, ["i", "2i"])
for i in range(10**9):
    writer.append(i, [i, 2 * i])
    if i % int(sys.argv[2]) == 0:
        recorder.flush()
        print(i + 1, flush=True)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a signal of POSIX systems")


def start(path: Path, every: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(every)], stdout=subprocess.PIPE, text=True)


def kill(child: subprocess.Popen[str], seconds: float) -> int:
    """Let the child work for a while after its first report, kill it; the rows it reported last."""
    assert child.stdout is not None
    reports = [child.stdout.readline()]
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    reports += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    return int([line for line in reports if line.endswith("\n")][-1])


def check(path: Path, reported: int) -> None:
    (track,) = open_run(path).tracks("rows")
    ends = np.cumsum(track.counts)
    assert ends[-1] >= reported
    np.testing.assert_array_equal(track.steps, ends - 1)
    for column, factor in enumerate((1, 2)):
        first, last = factor * (ends - track.counts), factor * (ends - 1)
        np.testing.assert_array_equal(track.minimum[:, column], first)
        np.testing.assert_array_equal(track.maximum[:, column], last)
        np.testing.assert_allclose(track.mean[:, column], (first + last) / 2, rtol=1e-12)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.parametrize("batch", range(TRIALS // AT_ONCE))
def test_killed_at_a_random_instant(tmp_path: Path, batch: int) -> None:
    moments = random.Random(batch)
    paths = [tmp_path / f"{number}.db" for number in range(AT_ONCE)]
    children = [start(path, moments.choice([1, 10, 500])) for path in paths]
    try:
        reported = [kill(child, moments.uniform(0, LONGEST_SECONDS)) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    for path, rows in zip(paths, reported, strict=True):
        check(path, rows)


def test_killed_while_starting(tmp_path: Path) -> None:
    moments = random.Random(0)
    for number in range(4):
        path = tmp_path / f"{number}.db"
        child = start(path, 1)
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.005))
        child.kill()
        child.communicate()
        if path.stat().st_size:
            connection = sqlite3.connect(path)
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()
