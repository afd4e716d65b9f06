"""`conduct` makes a trial's working folder, runs its process, and reads what came of it. It works on any machine that has the folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vivavoce.examine.verdict import examine
from vivavoce.record.errors import StoreError
from vivavoce.record.store import open_run
from vivavoce.repair import trial as process
from vivavoce.repair import workspace
from vivavoce.repair.outcome import Found, Outcome, with_reading
from vivavoce.repair.reading import Reading, read
from vivavoce.repair.specification import Specification, moved

SPECIFICATION = "trial.json"
ERRORS = "errors.txt"
POLL_SECONDS = 0.05  # how often a running trial is looked at
GRACE_SECONDS = 5.0  # from SIGTERM to SIGKILL
TAIL = 2000  # characters of the script's standard error that are looked at for a reason
THREADS = "OMP_NUM_THREADS"  # PyTorch takes its number of threads from it
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

Judge = Callable[[int, Reading], bool]  # (step, reading so far) -> whether to stop


def conduct(
    specification: Specification,
    *,
    judge: Judge | None = None,
    stopping: Callable[[], bool] = lambda: False,
    keep: Path | None = None,
    limit: float | None = None,
) -> Outcome:
    """Run one trial to its end.

    `judge` is asked at every reading whether the trial is hopeless; `stopping` whether everything is to end; `keep` is a folder
    that the recorded run is moved to; `limit` in seconds of wall time, after which it is killed. Raises RepairError where the folder
    cannot be copied.
    """
    scratch = Path(os.path.realpath(tempfile.mkdtemp(prefix="viva-trial-")))
    try:
        copy = workspace.make(specification.program, scratch, specification.overrides)
        path = scratch / SPECIFICATION
        path.write_text(json.dumps(specification.to_json()), encoding="utf-8")
        (scratch / "places.json").write_text(json.dumps(copy.places), encoding="utf-8")
        running = _Running(specification, path, copy, judge, stopping, limit)
        running.wait()
        return _outcome(running, keep)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def start(specification: Path, here: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the process of a trial in the folder `here`."""
    scratch = specification.parent
    with (scratch / process.OUTPUT).open("wb") as out, (scratch / ERRORS).open("wb") as errors:
        return subprocess.Popen(
            [
                sys.executable,
                process.__file__,
                str(specification),
            ],  # -m would import our modules from the user's folder
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,  # Control-C is ours to answer
        )


class _Running:
    """The process of a trial."""

    def __init__(
        self,
        specification: Specification,
        path: Path,
        copy: workspace.Workspace,
        judge: Judge | None,
        stopping: Callable[[], bool],
        limit: float | None,
    ) -> None:
        self.specification = specification
        self.scratch = path.parent
        self.copy = copy
        self.judge = judge
        self.stopping = stopping
        self.limit = limit
        self.killed: tuple[str, str] | None = None  # how and why it was ended from outside
        self.read_to = 0
        self.last: tuple[int, Reading] | None = None
        self.began = time.monotonic()
        here = copy.of(specification.program.here)
        self.process = start(path, here, _environment(specification, copy))

    def wait(self) -> None:
        """Until it has ended, was judged hopeless, took too long, or everything stops."""
        try:
            while self.process.poll() is None:
                time.sleep(POLL_SECONDS)
                self._look()
                if self.killed:
                    break
        finally:
            _end(self.process)
        self.seconds = time.monotonic() - self.began

    def _look(self) -> None:
        if self.stopping():
            self.killed = ("lost", "interrupted")
        elif self.limit is not None and time.monotonic() - self.began > self.limit:
            self.killed = ("too slow", f"killed after {self.limit:.0f} s")
        elif self.judge is not None:
            for step, reading in self._readings():
                self.last = (step, reading)
                if self.judge(step, reading):
                    self.killed = ("stopped early", f"among the worse half at step {step}")
                    return

    def _readings(self) -> Iterator[tuple[int, Reading]]:
        file = self.scratch / process.PROGRESS
        if not file.exists():
            return
        with file.open(encoding="utf-8") as lines:
            lines.seek(self.read_to)
            for line in iter(lines.readline, ""):
                if not line.endswith("\n"):
                    break
                self.read_to += len(line.encode())
                row = json.loads(line)
                yield row["step"], Reading.from_json(row["reading"])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(specification: Specification, copy: workspace.Workspace) -> dict[str, str]:
    """The user's environment, with as many threads as this trial may use and imports from the working folder."""
    environment = {key: value for key, value in os.environ.items() if key not in TORCHRUN}
    environment.setdefault("PYTHONHASHSEED", "0")
    environment.setdefault(THREADS, str(specification.threads))
    if "PYTHONPATH" in environment:
        entries = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(moved(entry, copy.places) for entry in entries)
    return environment | {"PYTHONUNBUFFERED": "1", "VIVA_MODE": "on"}


def _outcome(running: _Running, keep: Path | None) -> Outcome:
    specification, scratch = running.specification, running.scratch
    facts = _facts(running)
    outcome = Outcome(
        specification.arm,
        specification.seed,
        facts["ended"],
        facts["message"],
        facts["exit_code"],
        facts["steps"],
        round(running.seconds, 3),
        warnings=tuple(_warnings(facts, running.copy)),
        cpu_seconds=round(facts["cpu"], 3),
        memory=facts["memory"],
        device_memory=facts["device_memory"],
    )
    store = _store(facts, scratch)
    if running.killed and running.last is not None:  # it had no time to record its end
        step, reading = running.last
        outcome = replace(outcome, steps=step, **with_reading(reading))
        store = None
    if store is None:
        return outcome
    output = (scratch / process.OUTPUT).read_text(encoding="utf-8", errors="replace")
    return replace(outcome, **_examined(store, output, specification, outcome), store=_kept(store, keep))


def _facts(running: _Running) -> dict[str, Any]:
    """What the process wrote at its end; what can be told of one that could not."""
    facts: dict[str, Any] = {
        "exit_code": running.process.returncode,
        "steps": 0,
        "memory": 0,
        "device_memory": 0,
        "cpu": 0.0,
    }
    file = running.scratch / process.ENDING
    facts |= {"ended": "lost", "message": _last_words(running), "refused": [], "store": None}
    if file.exists():
        facts |= json.loads(file.read_text(encoding="utf-8"))
    if running.killed:
        facts["ended"], facts["message"] = running.killed
    return facts


def _last_words(running: _Running) -> str:
    """The last line that a dead process left on its standard error."""
    text = (running.scratch / ERRORS).read_text(encoding="utf-8", errors="replace")[-TAIL:]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("viva ▸")]
    return f"its process died with status {running.process.returncode}" + (f": {lines[-1].strip()}" if lines else "")


def _warnings(facts: dict[str, Any], copy: workspace.Workspace) -> Iterator[str]:
    if facts["refused"]:
        yield f"kept from writing to {', '.join(sorted(set(facts['refused']))[:3])}"
    for file in copy.changed():
        yield f"{file} has changed while the trial ran"


def _store(facts: dict[str, Any], scratch: Path) -> Path | None:
    if facts["store"]:
        return Path(facts["store"])
    stores = sorted((scratch / process.STORES).glob("*.db"))
    return stores[-1] if stores else None


def _examined(store: Path, output: str, specification: Specification, outcome: Outcome) -> dict[str, Any]:
    """Verdict and levels of the recorded run; of a store that cannot be read, nothing."""
    try:
        run = open_run(store)
    except StoreError:
        return {}
    verdict = examine(run)
    found = tuple(Found(f.slug, f.severity, f.title, f.primary) for f in verdict.findings)
    steps = outcome.steps or run.steps
    return {"verdict": verdict.outcome, "findings": found, "steps": steps} | with_reading(
        read(run, output, specification.metric, specification.altered)
    )


def _kept(store: Path, keep: Path | None) -> str | None:
    if keep is None:
        return None
    keep.mkdir(parents=True, exist_ok=True)
    target = keep / store.name
    for suffix in ("", "-wal", "-shm"):
        source = store.with_name(store.name + suffix)
        if source.exists():
            shutil.move(source, target.with_name(target.name + suffix))
    return str(target)
