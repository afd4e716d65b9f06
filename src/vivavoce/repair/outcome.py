"""What came of a trial: plain data that travels back to the repair as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from vivavoce.examine.finding import json_safe
from vivavoce.repair.reading import Kind, Reading

Ended = Literal["finished", "budget", "exception", "refused", "stopped early", "too slow", "lost"]
# finished: by itself; budget: at its steps or seconds; refused: it needs what a trial cannot give; stopped early: hopeless;
# too slow: killed; lost: the worker died, or the recording broke off


@dataclass(frozen=True)
class Found:
    """A finding of a trial, in short."""

    slug: str
    severity: str
    title: str
    primary: bool = False


@dataclass(frozen=True)
class Outcome:
    """One trial. `levels` by yardstick; `message` says why it did not finish; `store` is its recorded run.

    `seconds` is the wall time of the process, `cpu_seconds` its processor time (0 where it was killed), `memory` the largest resident size and `device_memory` the largest reserved on the
    device, in bytes; `attempts` how often it was started (a worker may die).
    """

    arm: str
    seed: int
    ended: Ended
    message: str = ""
    exit_code: int | None = None
    steps: int = 0
    seconds: float = 0.0
    levels: Mapping[str, float] = field(default_factory=dict)
    kind: Kind = field(default_factory=Kind)
    players: int = 1
    verdict: str = "no-training"
    findings: tuple[Found, ...] = ()
    warnings: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    memory: int = 0
    device_memory: int = 0
    attempts: int = 1
    store: str | None = None

    @property
    def trained(self) -> bool:
        """It made steps, and was neither refused nor lost."""
        return self.steps > 0 and self.ended not in ("refused", "lost")

    @property
    def failed(self) -> bool:
        """It did not get to its end or its budget."""
        return self.ended not in ("finished", "budget")

    @property
    def cured(self) -> bool:
        """Nothing at warning or above was found."""
        return self.trained and not self.failed and not self.grave

    @property
    def grave(self) -> tuple[Found, ...]:
        """The findings at warning or above."""
        return tuple(found for found in self.findings if found.severity != "note")

    def level(self, yardstick: str) -> float:
        """The level by a yardstick; NaN where the trial failed, or has none."""
        if self.failed:
            return math.nan
        return self.levels.get(yardstick, math.nan)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; non-finite numbers become strings."""
        data: dict[str, Any] = json_safe(asdict(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        rebuilt = {
            "levels": {name: float(level) for name, level in data["levels"].items()},
            "kind": Kind(**data["kind"]),
            "findings": tuple(Found(**item) for item in data["findings"]),
            "warnings": tuple(data["warnings"]),
        }
        return cls(**{**data, **rebuilt})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Rebuild from the text of a JSON file."""
        return cls.from_json(json.loads(text))


def with_reading(reading: Reading) -> dict[str, Any]:
    """The fields of an outcome that a reading fills."""
    return {"levels": dict(reading.levels), "kind": reading.kind, "players": reading.players}
