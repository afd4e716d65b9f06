"""What a lab is: one class with one method to write, `prove`; `apply` where it takes the user's own input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from vivavoce.labs.figures import Figure

Outcome = Literal["holds", "does not hold", "holds only when"]
Item = TypeVar("Item")
OUTCOMES: tuple[Outcome, ...] = ("holds", "does not hold", "holds only when")
EXTRA = "labs"  # the optional dependencies of the distribution that labs may need


class LabError(ValueError):
    """The input or an option cannot be used: one line that says what was given and what was expected."""


class MissingPackageError(LabError):
    """A package of the extra `labs` is not installed."""


def require(package: str) -> ModuleType:
    """Import an optional package. Raises MissingPackageError, which names the extra to install."""
    try:
        return import_module(package)
    except ModuleNotFoundError:
        raise MissingPackageError(f"this lab needs {package}: pip install 'vivavoce[{EXTRA}]'") from None


@dataclass(frozen=True)
class Claim:
    """A statement that was held against a measurement.

    `measured` and `expected` are what is printed, with units; `condition` completes "holds only when …" and must be
    given with that outcome alone. `note` is one sentence of explanation. Raises ValueError for a wrong combination.
    """

    claim: str
    measured: str
    expected: str
    outcome: Outcome
    condition: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"{self.outcome!r} is none of {', '.join(OUTCOMES)}")
        if bool(self.condition) != (self.outcome == "holds only when"):
            raise ValueError(f"a condition belongs to 'holds only when', not to {self.outcome!r}: {self.condition!r}")

    @property
    def verdict(self) -> str:
        """The outcome with its condition, as it is printed."""
        return f"{self.outcome} {self.condition}" if self.condition else self.outcome


def held(claim: str, measured: str, expected: str, truth: bool | np.bool_, note: str = "") -> Claim:
    """A claim that holds where `truth`, and else does not."""
    return Claim(claim, measured, expected, "holds" if truth else "does not hold", note=note)


@dataclass(frozen=True)
class Table:
    """A table of strings. `rows` have as many cells as `heads`; `most` rows are printed, the page shows all of them."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: bool = True
    most: int = 12


@dataclass(frozen=True)
class Result:
    """What a lab found out: an answer in a sentence or two, claims or tables that bear it out, and figures.

    `data` are the numbers behind it for programs: plain dictionaries, lists, strings, numbers, arrays.
    """

    answer: str
    claims: Sequence[Claim] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_parts(cls, answer: str, parts: Sequence[Result]) -> Result:
        """One answer to what several parts of a lab found out, in their order; their own answers are left out."""
        return cls(
            answer,
            [claim for part in parts for claim in part.claims],
            [table for part in parts for table in part.tables],
            [figure for part in parts for figure in part.figures],
            [note for part in parts for note in part.notes],
            {key: value for part in parts for key, value in part.data.items()},
        )


@dataclass(frozen=True)
class Option:
    """An option of one lab: `--name VALUE`, or a flag where `kind` is bool. `choices` restricts a string.

    With `multiple` it may be given several times, and its value is a tuple.
    """

    name: str  # without dashes, with hyphens: "max-width"
    help: str
    kind: type[str] | type[int] | type[float] | type[bool] = str
    default: Any = None
    metavar: str | None = None
    choices: Sequence[str] = ()
    multiple: bool = False


class Progress:
    """A bar that shows nothing: what a lab is given where nobody watches."""

    def task(self, label: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """A context whose value is to be called with each advance towards `total`."""
        return nullcontext(lambda advance: None)


@dataclass(frozen=True)
class Context:
    """How a lab is to run. `options` holds the lab's own options by name; those not given have their default."""

    quick: bool = False
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    output: str | None = None  # where the lab's own product is to go; for labs with a `product` alone
    force: bool = False  # it may overwrite files there

    def rng(self, stream: int = 0) -> np.random.Generator:
        """A generator of random numbers of its own for each `stream` of the same seed."""
        return np.random.default_rng([self.seed, stream])

    def track(self, label: str, items: Sequence[Item]) -> Iterator[Item]:
        """Iterate over `items` while a bar shows how far it has come."""
        with self.progress.task(label, len(items)) as advance:
            for item in items:
                yield item
                advance(1)


class Lab(ABC):
    """A lab. It opens no file but its input and those that an option of its own names, and prints nothing."""

    name: ClassVar[str]
    question: ClassVar[str]  # the question of the exam, with its mark
    textbook: ClassVar[str]  # the answer that one would give in an interview, in a sentence or two
    input_help: ClassVar[str] = ""  # what INPUT may be; empty where the lab takes none
    options: ClassVar[Sequence[Option]] = ()
    examples: ClassVar[Sequence[str]] = ()  # commands for the help
    product: ClassVar[str] = ""  # what the lab itself writes to where -o says, for the help; the page is then at --page

    @abstractmethod
    def prove(self, context: Context) -> Result:
        """Test the textbook's answer on known truth. With `context.quick` in seconds, else in about a minute."""

    def apply(self, source: str, context: Context) -> Result:
        """Do the same job on the user's own input. Raises LabError for an input that cannot be used."""
        raise LabError(f"the lab {self.name} takes no input, got {source!r}")

    def run(self, source: str | None = None, context: Context | None = None) -> Result:
        """`prove` without a source, else `apply`; options that are missing get their default. Raises LabError."""
        context = context or Context()
        known = {option.name for option in self.options}
        unknown = set(context.options) - known
        if unknown:
            raise LabError(f"the lab {self.name} has no option {sorted(unknown)[0]!r}; it has {sorted(known)}")
        defaults = {option.name: () if option.multiple else option.default for option in self.options}
        context = replace(context, options={**defaults, **context.options})
        return self.prove(context) if source is None else self.apply(source, context)
