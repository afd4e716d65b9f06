"""How a repair is to be done, and who is told how it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from vivavoce.repair.comparison import FEWEST_SEEDS
from vivavoce.repair.errors import RepairError
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.reading import Better
from vivavoce.repair.specification import CATALOGUE


@dataclass(frozen=True)
class Options:
    """How a repair is done. `time` in seconds for all of it; `steps` for each run; `metric` a printed number's name."""

    trials: int = 8
    seeds: int = FEWEST_SEEDS
    steps: int | None = None
    time: float | None = None
    metric: str | None = None
    better: Better = "lower"
    prove: bool = False
    catalogue: str = CATALOGUE

    def __post_init__(self) -> None:
        if self.seeds < FEWEST_SEEDS:
            raise RepairError(f"{self.seeds} seeds are too few to tell a repair from luck; {FEWEST_SEEDS} are needed")


class Listener:
    """Is told how a repair goes on."""

    def phase(self, title: str, jobs: int) -> None:
        """A phase of so many runs begins."""

    def ended(self, outcome: Outcome) -> None:
        """A run has ended."""
