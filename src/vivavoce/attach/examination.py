"""The examination while a run goes on: in the recorder's thread, by the same detectors as afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vivavoce.examine.finding import SEVERITIES, Finding
from vivavoce.examine.standing import Standing
from vivavoce.examine.verdict import examine
from vivavoce.record.recorder import Recorder
from vivavoce.record.run import Run

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

FIRST_EXAMINATION = 20  # step of the first one
NEXT_EXAMINATION = 1.25  # ratio of the steps at which successive ones are made, at least
EXAMINATION_SHARE = 0.15  # of the budget that they may use
URGENT_EXAMINATIONS = 10  # alarms that are answered by an examination at once, whatever it costs


class LiveExamination:
    """A job of the recorder's: examines after a flush where it is due and the budget has room, or an alarm asks."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._next_step = float(FIRST_EXAMINATION)
        self._free_at = 0.0
        self._alarms = 0
        self._standing = Standing()

    def __call__(self, recorder: Recorder, /) -> None:
        """Keep the run's facts up to date, and examine it if it is time."""
        session = self.session
        recorder.meta(**session.progress())
        urgent = self._alarms < min(session.budget.alarms, URGENT_EXAMINATIONS)
        due = session.step >= self._next_step and time.monotonic() >= self._free_at
        if session.step > 0 and (due or urgent):
            self._alarms = session.budget.alarms
            self._next_step = session.step * NEXT_EXAMINATION
            started = time.thread_time()
            self._examine(recorder)
            cost = time.thread_time() - started
            self._free_at = time.monotonic() + cost / (EXAMINATION_SHARE * session.budget.fraction)

    def _examine(self, recorder: Recorder) -> None:
        session, step = self.session, self.session.step
        findings = self._standing.of(examine(Run(recorder.source())).findings, step)
        recorder.findings([finding.to_json() for finding in findings], step)
        session.latest.finding = findings[0] if findings else None
        session.stop_slug = session.stop_slug or reason_to_stop(findings, session.settings.stop_on)


def reason_to_stop(findings: Iterable[Finding], stop_on: tuple[str, ...]) -> str | None:
    """The first finding that `--stop-on` names, by its slug or as "critical"; None where there is none."""
    for finding in findings:
        if finding.slug in stop_on or (finding.severity == SEVERITIES[0] and SEVERITIES[0] in stop_on):
            return finding.slug
    return None
