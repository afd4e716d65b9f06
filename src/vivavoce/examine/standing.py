"""What of a verdict may be said while a run goes on: a network that is not done yet may look ill and get over it.

Early in a run a healthy network guesses, ignores classes, or loses what it had learned; detectors whose evidence may pass
say so (`Detector.passing`), and what they find is held back until it has stood for half of the steps so far.
"""

from __future__ import annotations

from collections.abc import Iterable

from vivavoce.examine.catalogue import DETECTORS
from vivavoce.examine.finding import Finding

LASTED = 2.0  # times the step at which it was first found: of 68 healthy development runs 18 raised an alarm without, 2 with it
PASSING = frozenset(detector.slug for detector in DETECTORS if detector.passing)


class Standing:
    """The findings of successive examinations of one run, and since when each has been there."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def of(self, findings: Iterable[Finding], step: int) -> tuple[Finding, ...]:
        """Those of an examination at `step` that may be said now, in their order, the first grave one primary."""
        found = list(findings)
        grave = {finding.slug for finding in found if finding.severity != "note"}
        self._since = {slug: self._since.get(slug, step) for slug in grave}
        said = [finding for finding in found if self._may_be_said(finding, step)]
        first = next((finding for finding in said if finding.severity != "note"), None)
        return tuple(finding.with_(primary=finding is first) for finding in said)

    def _may_be_said(self, finding: Finding, step: int) -> bool:
        lasted = step >= LASTED * self._since.get(finding.slug, step)
        return finding.severity == "note" or finding.slug not in PASSING or lasted
