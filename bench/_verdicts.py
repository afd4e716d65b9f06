"""What was said about each run, by Viva or by another tool, in the compact form that the page is made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _collection import Variant, load, variants

FOLDER = Path(__file__).parent / "verdicts"
ALARM = ("critical", "warning")  # severities that count as raising an alarm
NOTHING = "(nothing)"


@dataclass(frozen=True)
class Alarm:
    """A finding as it is scored: the slugs that it may stand for (one, if it is Viva's own), and how sure it was."""

    slugs: tuple[str, ...]
    confidence: float


@dataclass(frozen=True)
class Verdict:
    """What was said about one run: alarms in the order they were given, the first being the primary one.

    `named`: some alarm stands for an accepted cause; `right`: the first one does; `exact`: it stands for the intended cause.
    """

    variant: Variant
    seed: int
    alarms: tuple[Alarm, ...]

    @property
    def accept(self) -> tuple[str, ...]:
        """The accepted causes, the intended one first; none of a healthy run."""
        return self.variant.fault.accept if self.variant.fault else ()

    @property
    def named(self) -> bool:
        return any(set(alarm.slugs) & set(self.accept) for alarm in self.alarms)

    @property
    def right(self) -> bool:
        return bool(self.alarms) and bool(set(self.alarms[0].slugs) & set(self.accept))

    @property
    def exact(self) -> bool:
        return bool(self.alarms) and bool(self.accept) and self.accept[0] in self.alarms[0].slugs

    @property
    def first(self) -> str:
        """The slug of the first alarm."""
        return self.alarms[0].slugs[0] if self.alarms else NOTHING


def of_report(variant: Variant, seed: int, report: dict[str, Any]) -> Verdict:
    """Viva's verdict: findings that are warnings or worse, the primary one first."""
    raised = [finding for finding in report["findings"] if finding["severity"] in ALARM]
    raised.sort(key=lambda finding: not finding["primary"])
    return Verdict(variant, seed, tuple(Alarm((item["slug"],), item["confidence"]) for item in raised))


def write(name: str, verdicts: Iterable[Verdict]) -> Path:
    """Keeps verdicts under a name, one run a line."""
    rows = [
        json.dumps([v.variant.key, v.seed, [[*alarm.slugs, alarm.confidence] for alarm in v.alarms]]) for v in verdicts
    ]
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n")
    return path


def read(name: str) -> list[Verdict]:
    """The verdicts kept under a name; of runs that are no longer in the collection, none."""
    path = FOLDER / f"{name}.json"
    known = {variant.key: variant for variant in variants(load())}
    rows = json.loads(path.read_text()) if path.exists() else []
    return [
        Verdict(known[key], seed, tuple(Alarm(tuple(alarm[:-1]), alarm[-1]) for alarm in alarms))
        for key, seed, alarms in rows
        if key in known
    ]


def names() -> list[str]:
    """The names under which verdicts are kept."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))
