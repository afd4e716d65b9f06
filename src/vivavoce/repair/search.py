"""Random search over the knobs of all remedies, without a diagnosis: what `--prove` compares a repair with."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.remedy import Prescription, Remedy

SEED = 0  # of the draws, so that a repair can be repeated
DECADES = 1.0  # a number is drawn within so many decades around what the remedy prescribes, evenly in its logarithm
OCTAVES = 2.0  # a whole number within so many factors of two


def knobs(run: Run, catalogue: Any) -> list[Prescription]:
    """One prescription of each remedy that can be prescribed for this run at all, whatever was found."""
    return [found for remedy in catalogue.REMEDIES if (found := _prescribed(run, remedy)) is not None]


def _prescribed(run: Run, remedy: Remedy) -> Prescription | None:
    for slug in remedy.treats:
        finding = Finding(slug, "warning", 0.0, 0, "drawn at random", "")
        try:
            found = next(iter(remedy.prescribe(run, finding)), None)
        except Exception:  # it needs what only its finding tells
            continue
        if found is not None:
            return found
    return None


def draws(run: Run, catalogue: Any, count: int, seed: int = SEED) -> list[Prescription]:
    """`count` remedies at random, each with its numbers moved at random; fewer where there are no knobs."""
    generator = random.Random(seed)
    space = knobs(run, catalogue)
    return [_moved(generator.choice(space), generator, index) for index in range(count)] if space else []


def _moved(prescription: Prescription, generator: random.Random, index: int) -> Prescription:
    numbers = {name: _drawn(value, generator) for name, value in prescription.numbers.items()}
    shown = ", ".join(f"{name} {value:.3g}" for name, value in _plain(numbers).items())
    title = f"{prescription.remedy} {index + 1}" + (f" ({shown})" if shown else "")
    return replace(prescription, numbers=numbers, title=title)


def _drawn(value: Any, generator: random.Random) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, int):
        return max(1, round(value * 2 ** generator.uniform(-OCTAVES, OCTAVES)))
    return value * 10 ** generator.uniform(-DECADES, DECADES)


def _plain(numbers: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if isinstance(value, int | float)}
