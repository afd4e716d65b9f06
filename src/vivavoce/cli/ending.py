"""What `viva run` adds to a script: the watch over it, and at its end the card, the JSON report and exit status 3."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vivavoce._version import __version__
from vivavoce.children import Lookout, describe
from vivavoce.examine.finding import SEVERITIES
from vivavoce.launch import Ending
from vivavoce.settings import Settings

if TYPE_CHECKING:
    from vivavoce.attach.session import Outcome

LONG_WORK = 1.0  # seconds of processor time: what importing torch takes at least
EXIT_FINDING = 3  # exit status of a run that --fail-on or --stop-on ended


class Watched:
    """A script under watch, in the process that runs it."""

    def __init__(self, settings: Settings, command: list[str]) -> None:
        self.settings = settings
        self.command = command
        self.stream: TextIO | None = sys.stderr  # the script may replace or close sys.stderr
        self.lookout = Lookout(settings, command)
        self.live: Any = None
        self.folder = _current_folder()  # in which the reader sits: the script may change its own
        self.path = sys.path[0 if sys.flags.safe_path else 1 :]  # where our own imports come from

    def start(self) -> None:
        """Wait for torch; draw the live line where there is a terminal for it."""
        self.lookout.start()
        if self.settings.live and self.settings.speaks and not self.settings.ci:
            from vivavoce.cli.live import LiveLine

            self.live = LiveLine.on(self.stream, lambda: self.lookout.session)

    def end(self, ending: Ending) -> None:
        """Print the verdict. Ends the process with status 3 where --fail-on asks for it; never raises."""
        try:
            if self.live is not None:
                self.live.stop()
            failed = self._conclude(ending)
        except BaseException as fault:  # even Control-C: python would blame an atexit function of ours
            self._say(f"the report failed, the run did not: {describe(fault)}")
            return
        if failed and ending.exit_code == 0:
            _exit_now(EXIT_FINDING)

    def _conclude(self, ending: Ending) -> bool:
        _flush(sys.stdout)
        sys.path[:0] = self.path  # the script is over: a rich.py of the user's own must not stand in for the library
        outcome = self.lookout.finish(ending.exit_code, ending.error)
        report = self._report(outcome, ending)
        if self.settings.json is not None and not self.settings.rank:
            self._write_json(report)
        from vivavoce.report.words import read_in

        with read_in(self.folder):
            self._print(outcome, report)
        return self._fails(outcome)

    def _report(self, outcome: Outcome | None, ending: Ending) -> Any:
        if outcome is None:
            return empty_report(self.command, ending.exit_code, self._why_nothing()) if self.settings.json else None
        from vivavoce.report.build import build_report

        return build_report(outcome.run, outcome.verdict, outcome.path)

    def _print(self, outcome: Outcome | None, report: Any) -> None:
        if not self.settings.speaks or self.stream is None:
            return
        if outcome is None:
            if self.lookout.fault is None:
                self._say(self._why_nothing())
            return
        from vivavoce.report.text import write_card

        session = self.lookout.session
        if session is not None and session.stopped:
            self._say(f"stopped by --stop-on: {session.stopped}")
        if "preflight" in report:
            from vivavoce.report.preflight import write_table

            write_table(report["preflight"], self.stream)
        write_card(report, self.stream)
        for child in outcome.children:
            self._say(_line(child))

    def _why_nothing(self) -> str:
        if self.lookout.fault is not None:
            return f"this run was not watched: {describe(self.lookout.fault)}"
        children = "; programs that it starts are not watched: put `viva run` before them" if _children_worked() else ""
        if self.lookout.session is None:
            return f"no training seen: the script never imported torch{children}"
        return f"no training seen: no backward pass and no optimizer step{children}"

    def _write_json(self, report: Any) -> None:
        from vivavoce.report.json import write

        assert self.settings.json is not None
        try:
            with self.settings.json.open("w", encoding="utf-8") as stream:
                write(report, stream)
        except OSError as error:
            self._say(f"the report was not written to {self.settings.json}: {error.strerror}")

    def _fails(self, outcome: Outcome | None) -> bool:
        level = self.settings.fail_on
        if outcome is None or level is None:
            return False
        grave = SEVERITIES[: SEVERITIES.index(level) + 1]
        return any(finding.severity in grave for one in _family(outcome) for finding in one.verdict.findings)

    def _say(self, message: str) -> None:
        if self.stream is None or self.settings.quiet:
            return
        try:
            self.stream.write(f"viva ▸ {message}\n")
            self.stream.flush()
        except (OSError, ValueError):  # closed, or a terminal that has gone
            pass


def _children_worked() -> bool:
    """Whether processes that this one has waited for computed for as long as a training may."""
    try:
        import resource
    except ImportError:  # not on this system
        return False
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime > LONG_WORK


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def _line(child: Outcome) -> str:
    """A child process in a line: what was found in it, and how to read on."""
    from vivavoce.report.words import name_of_run

    finding = child.verdict.primary
    verdict = child.verdict.outcome if finding is None else f"{finding.slug}   {finding.severity}"
    where = "" if child.path is None else f" · viva report {name_of_run(child.path)}"
    return f"process {child.run.meta.get('pid', '')}: {verdict}{where}"


def _family(outcome: Outcome) -> Iterator[Outcome]:
    yield outcome
    for child in outcome.children:
        yield from _family(child)


def empty_report(command: list[str], exit_code: int | None, reason: str) -> Any:
    """The report of a program that trained nothing and so has no store."""
    from vivavoce.examine.verdict import Verdict
    from vivavoce.record.recorder import Recorder
    from vivavoce.record.run import Run
    from vivavoce.report.build import build_report

    now = time.time()
    meta = {"command": command, "started": now, "finished": now, "exit_code": exit_code, "viva": __version__}
    run = Run(Recorder(Path(), meta, held=True).source())
    return build_report(run, Verdict("no-training", (), reason))


def _flush(stream: TextIO | None) -> None:
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        pass  # python flushes once more, and reports it


def _exit_now(status: int) -> None:
    """Python lets nothing but this change the exit status once a program has ended."""
    _flush(sys.stdout)
    _flush(sys.stderr)
    os._exit(status)
