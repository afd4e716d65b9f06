"""The base of the remedies: one file each in `remedy/`, three methods to write.

A remedy is prescribed from a recorded run, applied to a live trial without touching the source, and written into the
source once a trial has shown that it works.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run


@dataclass(frozen=True)
class Prescription:
    """A remedy with the numbers that this run calls for. Plain data: it travels to a trial as JSON.

    `where` holds what is needed to find the place again in another process: file and line of the optimizer, loader,
    module or call it concerns, and qualified names; `numbers` what is to be set there.
    """

    remedy: str  # name of the remedy
    finding: str  # slug of the finding that it treats
    title: str  # for people, with its numbers: "clip the gradient's norm at 0.9"
    numbers: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edit:
    """New texts of source files, by path; the same parts of the program as before, changed as little as possible."""

    files: Mapping[Path, str]
    imports: tuple[str, ...] = ()  # statements that had to be added


@dataclass(frozen=True)
class Words:
    """The edit in words, with its line, where it cannot be written safely into this source; `because` says why."""

    text: str
    because: str
    file: str | None = None
    line: int | None = None


class Remedy(ABC):
    """Treats findings.

    `treats` lists the slugs, and `rank` is its place in the order in which remedies are tried (lower first).
    `late` says that a trial may begin from a checkpoint of the healthy part of the run: the remedy changes neither
    the network's parameters nor what came before.
    """

    name: ClassVar[str]
    treats: ClassVar[tuple[str, ...]]
    rank: ClassVar[int]
    late: ClassVar[bool] = False

    @abstractmethod
    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Yield what this run calls for; nothing where the remedy does not apply. Imports no torch."""

    def further(self, prescription: Prescription, factor: float) -> Prescription | None:
        """The same with its number times a factor: a search goes on where the best value tried is the outermost one.

        None where the remedy has no such number.
        """
        return None

    @abstractmethod
    def apply(self, prescription: Prescription) -> None:
        """Put the remedy in place in this process, before the script runs and after PyTorch was imported.

        Raises:
            RemedyError: it cannot be applied at run time here; the message says why.
        """

    @abstractmethod
    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Write the remedy into the source. `sources` holds the user's files by absolute path."""


class RemedyError(Exception):
    """A remedy cannot be applied here; the message says why."""
