"""The base of the detectors: one small file each in `examine/`, one method to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from vivavoce.examine.finding import Finding, RuledOut
from vivavoce.record.run import Run


class Detector(ABC):
    """Looks for one ailment.

    `explains` names the slugs that this ailment causes: where both are found, they are listed as its symptoms. `passing`: a
    network that is not done yet may look like this and get over it, so that a run that goes on needs more than one look.
    """

    slug: ClassVar[str]
    question: ClassVar[int]
    explains: ClassVar[tuple[str, ...]] = ()
    passing: ClassVar[bool] = False

    @abstractmethod
    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Yield findings; or one `RuledOut` where the evidence speaks against the ailment; or nothing: undecided.

        Must not raise on any run, however short or strange, and must not modify it.
        """
