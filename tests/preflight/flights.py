"""Runs a training in this process under a preflight, and gives its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vivavoce.attach.session import Outcome, Session, StopTraining
from vivavoce.settings import Settings


@dataclass
class Flight:
    outcome: Outcome
    stopped: bool
    faults: list[str]
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def status(self, name: str) -> str:
        return self.checks[name]["status"]

    @property
    def slugs(self) -> set[str]:
        findings = self.outcome.verdict.findings
        return {f.slug for f in findings} | {s for f in findings for s in f.symptoms}


def fly(train: Callable[[], Any], directory: Path) -> Flight:
    session = Session(Settings(preflight=True, directory=directory))
    session.install()
    stopped = False
    try:
        train()
    except StopTraining as end:
        stopped = end.code == 0
    outcome = session.finish(0)
    assert outcome is not None
    events = outcome.run.events("preflight")
    assert len(events) == 1
    checks = {check["name"]: check for check in events[0].data["checks"]}
    return Flight(outcome, stopped, session.faults, checks)
