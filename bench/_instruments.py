"""What the instruments' benchmarks share: a bar, and how often something is timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

REPEATS = 5  # of a timing; the fastest counts, since only interruptions make it slower


@dataclass(frozen=True)
class Bar:
    """A measured number and what it is held against: `at_most` or at least the bar. `peer` says what it was measured by."""

    lab: str
    what: str
    measured: float
    bar: float
    at_most: bool
    peer: str

    @property
    def reached(self) -> bool:
        """Whether the number is as good as the bar."""
        return self.measured <= self.bar if self.at_most else self.measured >= self.bar


def fastest(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
