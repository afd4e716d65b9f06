"""The collection of training programs: scripts as users write them, and beside each the faults it can be given.

`bench/programs/NAME.py` is a plain training script; `NAME.toml` says what it measures and lists faults, each a few
textual replacements that must match exactly once. A patched script bears no trace of the benchmark.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROGRAMS = Path(__file__).parent / "programs"
CACHE = Path(__file__).parent / ".cache"
DIGEST_LENGTH = 16  # hexadecimal digits, enough to tell the scripts of the collection apart


class CollectionError(Exception):
    """A program or its description is not usable; the message says which and why."""


@dataclass(frozen=True)
class Metric:
    """What a program prints at its end: its name, which way is better, and the score of knowing nothing."""

    name: str
    better: Literal["higher", "lower"]
    trivial: float
    trivial_is: str
    healthy: float  # the healthy median must be at least this good

    def gain(self, worse: float, better: float) -> float:
        """How much `better` is better than `worse`, in units of the metric (negative where it is not)."""
        return better - worse if self.better == "higher" else worse - better


@dataclass(frozen=True)
class Fault:
    """One mistake that a user could have made. The first of `accept` is the cause; the others name it as well."""

    name: str
    accept: tuple[str, ...]
    symptoms: tuple[str, ...]
    edits: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Program:
    """A training script with its faults; `suspicious` says why a healthy run of it may look sick, if it may."""

    name: str
    kind: str
    suspicious: str
    metric: Metric
    faults: tuple[Fault, ...]
    part: Literal["development", "report"]

    @property
    def source(self) -> str:
        """The healthy script."""
        return (PROGRAMS / f"{self.name}.py").read_text()


@dataclass(frozen=True)
class Variant:
    """A script that can be run: a program, healthy (`fault` is None) or with one fault."""

    program: Program
    fault: Fault | None

    @property
    def key(self) -> str:
        """`program` or `program/fault`."""
        return self.program.name if self.fault is None else f"{self.program.name}/{self.fault.name}"

    @property
    def source(self) -> str:
        """The text of the script.

        Raises:
            CollectionError: an edit of the fault does not match exactly once.
        """
        text = self.program.source
        for old, new in self.fault.edits if self.fault else ():
            if text.count(old) != 1:
                raise CollectionError(f"{self.key}: matches {text.count(old)} times instead of once: {old!r}")
            text = text.replace(old, new)
        compile(text, self.key, "exec")
        return text

    @property
    def digest(self) -> str:
        """Names the text of the script."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:DIGEST_LENGTH]

    def write(self) -> Path:
        """The script as a file, in a folder that tells nothing about it."""
        path = CACHE / "scripts" / self.digest / "train.py"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.source)
        return path


def split() -> dict[str, Literal["development", "report"]]:
    """The part that every program belongs to, by name."""
    lists = tomllib.loads((PROGRAMS / "split.toml").read_text())
    return {name: part for part in ("development", "report") for name in lists[part]}  # type: ignore[misc]


def load(part: str | None = None) -> list[Program]:
    """All programs (of one part of the split, if given), in the order of their names."""
    parts = split()
    programs = [_load_one(path, parts) for path in sorted(PROGRAMS.glob("*.toml")) if path.stem != "split"]
    return [program for program in programs if part in (None, program.part)]


def variants(programs: list[Program]) -> list[Variant]:
    """Every program healthy and with each of its faults."""
    return [Variant(program, fault) for program in programs for fault in (None, *program.faults)]


def _load_one(path: Path, parts: dict[str, Literal["development", "report"]]) -> Program:
    try:
        data = tomllib.loads(path.read_text())
        return Program(
            name=path.stem,
            kind=data["kind"],
            suspicious=data.get("suspicious", ""),
            metric=Metric(**data["metric"]),
            faults=tuple(_fault(entry) for entry in data.get("fault", ())),
            part=parts[path.stem],
        )
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise CollectionError(f"{path.name}: {type(error).__name__}: {error}") from None


def _fault(entry: dict) -> Fault:
    return Fault(
        name=entry["name"],
        accept=tuple(entry["accept"]),
        symptoms=tuple(entry.get("symptoms", ())),
        edits=tuple((old, new) for old, new in entry["edits"]),
    )
