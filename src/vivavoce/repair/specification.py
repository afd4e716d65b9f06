"""What a trial is to do, as plain data: it travels to the trial's process, on this machine or another, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from vivavoce.remedy.remedy import Prescription
from vivavoce.repair.sweep import Sweep

CATALOGUE = "vivavoce.remedy.catalogue"  # module with `by_name(name)` and `plan(run, findings)`
ORIGINAL = "original"  # name of the arm without any remedy


@dataclass(frozen=True)
class Program:
    """The user's program.

    `roots` are the folders that a trial works on a copy of, the first one holding the script; `here` is the current
    directory, in one of them. `target` is the script relative to `here`, or a module's name. `standard_input` is a file to
    be replayed, None where the program is refused what it has not been given.
    """

    roots: tuple[str, ...]
    here: str
    target: str
    module: bool = False
    arguments: tuple[str, ...] = ()
    standard_input: str | None = None

    @property
    def words(self) -> list[str]:
        """The program as it stands on python's command line."""
        return [*(("-m",) if self.module else ()), self.target, *self.arguments]


@dataclass(frozen=True)
class Budget:
    """Where a trial ends at the latest: after so many training steps, or so many seconds of wall time."""

    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Specification:
    """One trial: the program with some remedies, one seed, within a budget.

    `seed` is the trial's offset from the program's own seeds, 0 for the original ones. `overrides` are new texts of source files by
    absolute path. `report_every` asks for a reading of the yardstick every so many steps; `metric` names a printed number;
    in a range test the learning rates are swept.
    """

    arm: str
    program: Program
    seed: int = 0
    remedies: tuple[Prescription, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    budget: Budget = Budget()
    threads: int = 1
    metric: str | None = None
    report_every: int | None = None
    catalogue: str = CATALOGUE
    altered: bool = False  # a remedy changes what the loss is
    sweep: Sweep | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        program: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data["program"].items()
        }
        rebuilt = {
            "program": Program(**program),
            "budget": Budget(**data["budget"]),
            "sweep": Sweep(**data["sweep"]) if data["sweep"] else None,
            "remedies": tuple(Prescription(**item) for item in data["remedies"]),
        }
        return cls(**{**data, **rebuilt})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Rebuild from a file that holds `to_json`."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))


def moved(value: Any, places: Mapping[str, str]) -> Any:
    """`value` with every path below a key of `places` (old folder: new folder) brought below the new folder.

    Strings in dictionaries, lists and tuples are looked at; keys and all other values stay.
    """
    if isinstance(value, str):
        for old, new in places.items():
            if value == old or value.startswith(old.rstrip("/") + "/"):
                return new + value[len(old.rstrip("/")) :]
        return value
    if isinstance(value, Mapping):
        return {key: moved(item, places) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, places) for item in value)
    return value
