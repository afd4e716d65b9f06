"""The writing side of the store: signals go into memory at once, a background thread writes them to the file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from vivavoce.record.entities import Entity
from vivavoce.record.memory import Memory, SignalWriter
from vivavoce.record.snapshot import Snapshot
from vivavoce.record.writer import SCHEMA_VERSION, StoreWriter

__all__ = ["Recorder", "SignalWriter"]

FIRST_FLUSH_SECONDS = 0.1  # a script that dies at once should leave a trace
FLUSH_SECONDS = 1.0  # what a killed run may lack at most
LONGEST_RETRY_SECONDS = 60.0  # a full disk or a locked file is tried again, at doubling intervals up to this
JOIN_SECONDS = 10.0  # how long `close` waits for the background thread, which may be in an examination
FORK_SECONDS = 1.0  # how long a fork waits for a flush that is under way


class Job(Protocol):
    """Work done in the background thread after a flush, the live examination for instance."""

    def __call__(self, recorder: Recorder, /) -> None:
        """Do it."""


def warn(message: str) -> None:
    """Print a line on standard error, if there is one."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"viva ▸ {message}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # closed, or a pipe without a reader
            pass


class Recorder:
    """Records one run.

    `path` is the file to make, or a function that makes an empty one and returns its path; it is called, and a file
    exists, only when the first entity, row or event has arrived (`viva run` of a script without any training leaves
    none). `meta` are facts about the run. `on_fault(name, error)` is told once about each part of the recorder that
    failed; `warn` prints a sentence for people. With `held`, everything stays in memory until `release` is called.

    Nothing here raises into the training. Failures of the file (disk full, read-only folder) warn once; recording
    then goes on in memory only, so that the verdict at the end still appears. A forked child inherits a recorder that
    does nothing.
    """

    def __init__(
        self,
        path: Path | Callable[[], Path],
        meta: dict[str, Any] | None = None,
        *,
        on_fault: Callable[[str, Exception], None] | None = None,
        warn: Callable[[str], None] = warn,
        flush_seconds: float = FLUSH_SECONDS,
        held: bool = False,
    ) -> None:
        self._make_path = path if callable(path) else lambda: path
        self._on_fault = on_fault
        self._warn = warn
        self._flush_seconds = flush_seconds
        self._began = time.monotonic()
        self._faults: set[str] = set()
        self._memory = Memory({"schema": SCHEMA_VERSION, **(meta or {})}, self._report)
        self._signals: dict[tuple[str, Any, tuple[str | int, ...]], SignalWriter] = {}
        self._jobs: list[Job] = []
        self._writer: StoreWriter | None = None
        self._failure: Exception | None = None
        self._file_lost = False  # nothing more is written
        self._behind = False  # the last flush did not reach the file
        self._retry_seconds = flush_seconds
        self._retry_at = 0.0
        self._closed = False
        self._held = held
        self._cpu_seconds = 0.0
        self._make_locks()
        _recorders.add(self)
        _handle_forks()

    def _make_locks(self) -> None:
        self._memory_lock = threading.RLock()
        self._file_lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def release(self) -> None:
        """What was recorded is worth a file: begin to write."""
        if self._held:
            self._held = False
            self._start()

    # what the taps call

    def signal(self, name: str, owner: tuple[str, int] | None, columns: Sequence[str | int]) -> SignalWriter:
        """The writer of a signal, made on first use for this (name, owner, columns)."""
        key = (name, owner, tuple(columns))
        writer = self._signals.get(key)
        if writer is None:
            with self._memory_lock:
                writer = self._signals.get(key) or self._memory.add_signal(*key)
                self._signals[key] = writer
            if self._closed:
                writer.pending = deque(maxlen=0)
            self._start()
        return writer

    def entity(self, entity: Entity) -> None:
        """Record or replace an entity."""
        if not self._closed:
            self._memory.add_entity(entity)
            self._start()

    def event(self, step: int, kind: str, **data: Any) -> None:
        """Record an event."""
        if not self._closed:
            self._memory.add_event(step, time.monotonic() - self._began, kind, data)
            self._start()

    def meta(self, **values: Any) -> None:
        """Record facts about the run. Facts alone make no file."""
        if not self._closed:
            self._memory.add_fact(values)

    def findings(self, findings: Iterable[dict[str, Any]], step: int) -> None:
        """Record what an examination at a step found, as `Finding.to_json` has it."""
        if not self._closed:
            with self._memory_lock:
                self._memory.add_findings(findings, step)

    # what the examination and the end of the run call

    def add_job(self, job: Job) -> None:
        """Have `job(recorder)` called in the background thread after each flush. A job that raises is dropped."""
        self._jobs.append(job)

    def source(self) -> Snapshot:
        """A `Source` of everything recorded until now, as a store read now would give it. It does not change any more."""
        with self._memory_lock:
            self._memory.drain()
            return self._memory.snapshot()

    def flush(self) -> None:
        """Write everything recorded until now to the file, and return when it is there (or when the file has failed)."""
        if not self._closed:
            self._retry_at = 0.0
            self._flush()

    def close(self) -> None:
        """Stop the thread, write the rest, and leave a single file. What is recorded later is dropped."""
        if self._closed:
            return
        self._stop.set()
        if self._thread is not None and self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(JOIN_SECONDS)
        self.flush()
        self._closed = True
        self._silence_signals()
        if self._writer is not None:
            with self._file_lock:
                self._attempt(self._writer.close)

    @property
    def path(self) -> Path | None:
        """The file of the run; None as long as there is none."""
        return self._writer.path if self._writer else None

    @property
    def complete(self) -> bool:
        """True where the file holds what the last flush had to write; False where it failed or none was needed."""
        return self._writer is not None and not self._behind and not self._file_lost

    @property
    def failure(self) -> Exception | None:
        """The last error of the file, if any."""
        return self._failure

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the background thread has used, jobs included."""
        return self._cpu_seconds

    def discard_after_fork(self) -> None:
        """In a forked child: forget the parent's file and thread, and record nothing. Called by itself after `os.fork`."""
        self._closed = True
        self._silence_signals()
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        self._make_locks()

    # the background

    def _start(self) -> None:
        if self._thread is None and not self._closed and not self._held:
            with self._memory_lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="vivavoce recorder", daemon=True)
                    with contextlib.suppress(RuntimeError):  # the interpreter ends; `close` writes everything
                        self._thread.start()

    def _work(self) -> None:
        delay = min(FIRST_FLUSH_SECONDS, self._flush_seconds)
        while not self._stop.wait(delay):
            try:
                self._flush()
            except Exception as error:  # not of the file, which `_attempt` handles
                self._report("recorder", error)
            self._run_jobs()
            self._cpu_seconds = time.thread_time()
            delay = self._flush_seconds

    def _run_jobs(self) -> None:
        for job in list(self._jobs):
            try:
                job(self)
            except Exception as error:
                self._jobs.remove(job)
                self._report(getattr(job, "__name__", type(job).__name__), error)

    def _flush(self) -> None:
        """Take in what is pending and bring the file up to date, as far as there is one."""
        with self._file_lock:
            snapshot = self.source()
            if not (self._held or self._memory.empty or self._file_lost or time.monotonic() < self._retry_at):
                self._attempt(lambda: self._open().write(snapshot))

    def _open(self) -> StoreWriter:
        if self._writer is None:
            self._writer = StoreWriter(self._make_path())
        return self._writer

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except sqlite3.OperationalError as error:
            if self._writer is None:
                self._lose_file(error)
            else:
                self._try_later(error)
        except Exception as error:
            self._lose_file(error)
        else:
            self._behind = False
            self._retry_seconds = self._flush_seconds

    def _try_later(self, error: Exception) -> None:
        if self._failure is None:
            self._warn(f"cannot write {self.path} ({error}); recording goes on in memory, and writing is tried again")
        self._failure = error
        self._behind = True
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)

    def _lose_file(self, error: Exception) -> None:
        if self._failure is None:
            self._warn(f"cannot record this run in a file ({_reason(error)}); recording goes on in memory only")
        self._failure = error
        self._file_lost = True

    def _report(self, name: str, error: Exception) -> None:
        if name in self._faults:
            return
        self._faults.add(name)
        if self._on_fault is not None:
            self._on_fault(name, error)
        else:
            self._warn(f"{name}: {type(error).__name__}: {error}; the training goes on")

    def _silence_signals(self) -> None:
        for writer in self._memory.writers:
            writer.pending = deque(maxlen=0)


def _reason(error: Exception) -> str:
    """An error in words: an OSError without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


# A fork in the middle of a flush would leave the child with locks that nobody releases, SQLite's own among them.
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
_forks_handled = False
_held: list[Recorder] = []


def _handle_forks() -> None:
    global _forks_handled
    if not _forks_handled and hasattr(os, "register_at_fork"):
        _forks_handled = True
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )


def _before_fork() -> None:
    _held.extend(recorder for recorder in list(_recorders) if recorder._file_lock.acquire(timeout=FORK_SECONDS))


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._file_lock.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for recorder in list(_recorders):
        recorder.discard_after_fork()
