"""Arms: what is compared. Each is the user's program with something done to it, run with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vivavoce.remedy.remedy import Prescription, Words
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.specification import ORIGINAL

Kind = Literal["original", "remedy", "patched", "random", "sweep"]
# remedy: applied at run time; patched: the edited source, run plainly; random: drawn by --prove; sweep: the range test of the
# learning rate, whose losses say which rate to try and nothing else

# Values beyond the first that are tried before other remedies, by finding and remedy.
MORE_VALUES = {
    ("learning-rate-too-high", "lower-learning-rate"): 2,
    ("learning-rate-too-low", "raise-learning-rate"): 2,
}


@dataclass
class Arm:
    """One arm. `overrides` are its source texts where they are not the user's; `outcomes` by seed are filled as trials end.

    `words` is the edit in words where it cannot be written; `reproduces` says of a patched arm which arm it writes down.
    """

    name: str
    kind: Kind
    prescriptions: tuple[Prescription, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    words: Words | None = None
    reproduces: str | None = None

    def levels(self, yardstick: str) -> dict[int, float]:
        """The level of each seed that was run; a sweep has none."""
        if self.kind == "sweep":
            return {}
        return {
            seed: outcome.level(yardstick) for seed, outcome in sorted(self.outcomes.items()) if outcome.ended != "lost"
        }

    @property
    def tried(self) -> Outcome | None:
        """The outcome with the original seeds."""
        return self.outcomes.get(0)


def original() -> Arm:
    """The control: the script as it is."""
    return Arm(ORIGINAL, "original")


def widely(prescriptions: Sequence[Prescription]) -> list[Prescription]:
    """The first values of all remedies, then the second ones: so that few trials cover many remedies.

    A finding that names the very number to change has more of its values tried in the first round.
    """
    seen: dict[tuple[str, str], int] = {}
    places = []
    for place, prescription in enumerate(prescriptions):
        key = (prescription.finding, prescription.remedy)
        seen[key] = seen.get(key, -1) + 1
        places.append((max(0, seen[key] - MORE_VALUES.get(key, 0)), place))
    return [prescriptions[place] for _, place in sorted(places)]
