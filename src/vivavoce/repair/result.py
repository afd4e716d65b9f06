"""What a repair ends in: plain data for the reporters."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vivavoce.repair.arm import Arm
from vivavoce.repair.comparison import Effect
from vivavoce.repair.yardstick import Yardstick

Verdict = Literal["healthy", "repaired", "by-hand", "no-remedy", "unmeasured", "interrupted"]
# by-hand: a remedy helps, but it cannot be written into this source; unmeasured: nothing says which run is better

TITLES: Mapping[Verdict, str] = {
    "healthy": "nothing to repair",
    "repaired": "repaired",
    "by-hand": "a remedy helps, to be written by hand",
    "no-remedy": "no remedy beats the control",
    "unmeasured": "nothing says which run is better",
    "interrupted": "interrupted",
}


@dataclass(frozen=True)
class Cost:
    """What the repair took: runs of the script, seconds of all of them together, and how many original runs that is."""

    runs: int
    seconds: float
    multiple: float


def cost_of(arms: Sequence[Arm]) -> Cost:
    """The cost of all runs of these arms, the control first.

    One run is one that got to its end, of the control if there is one. The multiple is of processor time, which does not depend on what
    else the machine does; of wall time where a run was killed, and so did not say.
    """
    outcomes = [outcome for arm in arms for outcome in arm.outcomes.values() if outcome.seconds]
    whole = [outcome for outcome in arms[0].outcomes.values() if outcome.seconds and not outcome.failed]
    whole = whole or [outcome for outcome in outcomes if not outcome.failed] or outcomes
    seconds = round(sum(outcome.seconds for outcome in outcomes), 1)
    if not outcomes:
        return Cost(0, 0.0, 0.0)
    name = "cpu_seconds" if all(outcome.cpu_seconds for outcome in outcomes) else "seconds"
    one = statistics.median(getattr(outcome, name) for outcome in whole)
    return Cost(len(outcomes), seconds, round(sum(getattr(outcome, name) for outcome in outcomes) / one, 2))


@dataclass
class Result:
    """The end of a repair.

    `arms` begin with the original; `winner` is the patched arm (or, by hand, the remedy) that was proved, with its `proof`;
    `effects` are those of all other arms that had two seeds or more. `patch` is the unified diff, `texts` the new files, `base` the
    folder that the names in the diff start from. `prescribed` counts the remedies of the plan.
    """

    verdict: Verdict
    reason: str
    command: str
    arms: list[Arm]
    yardstick: Yardstick | None = None
    effects: dict[str, Effect] = field(default_factory=dict)
    winner: Arm | None = None
    proof: Effect | None = None
    patch: str = ""
    before: Mapping[Path, str] = field(default_factory=dict)
    texts: Mapping[Path, str] = field(default_factory=dict)
    base: Path = Path()
    cost: Cost = Cost(0, 0.0, 0.0)
    prescribed: int = 0
    seeds: int = 0
    engine: str = "local"
    store: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def original(self) -> Arm:
        """The control."""
        return self.arms[0]
