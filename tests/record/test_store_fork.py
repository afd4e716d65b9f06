"""Forked children of a recorded process: they record nothing and leave the parent's file alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from vivavoce.record.store import open_run

pytestmark = pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="this system has no fork")

PARENT = """
import gc, os, sys, time, warnings
from pathlib import Path
from vivavoce.record.recorder import Recorder
from vivavoce.record.entities import Model

warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads: what is tested
recorder = Recorder(Path(sys.argv[1]), flush_seconds=0.002)
writer = recorder.signal("rows", None, ["i"])
recorder.entity(Model(id=0, name="parent", class_name="M"))
recorder.flush()
children = []
for i in range(2000):
    writer.append(i, [i])
    if i % 100 == 0:
        pid = os.fork()
        if pid == 0:
            for j in range(1000):
                writer.append(j, [-1.0])
            recorder.signal("child", None, ["x"]).append(0, [1.0])
            recorder.event(0, "stopped", slug="child")
            recorder.entity(Model(id=0, name="child", class_name="M"))
            recorder.meta(steps=-1)
            recorder.findings([{"slug": "child"}], 0)
            recorder.flush()
            assert recorder.path is None and len(writer.pending) == 0 and recorder._thread is None
            recorder.close()
            own = Recorder(Path(sys.argv[1] + f".{i}"))
            own.event(0, "stopped", slug="own")
            own.close()
            del recorder, own
            gc.collect()
            if i % 200 == 0:
                os._exit(0)
            sys.exit(0)
        children.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
recorder.close()
print("done")
"""


def test_children_leave_the_parents_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    done = subprocess.run([sys.executable, "-c", PARENT, str(path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    run = open_run(path)
    assert run.series("rows").counts.sum() == 2000
    assert run.series("rows").minimum.min() == 0
    assert run.tracks("child") == []
    assert run.models[0].name == "parent"
    assert (run.events("stopped"), run.live_findings) == ([], [])
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    own = sorted(tmp_path.glob("run.db.*"))
    assert len(own) == 20
    assert all(len(open_run(child).events("stopped")) == 1 for child in own)
