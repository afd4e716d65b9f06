"""Runs the packages of bench/peers.txt in the programs, and says in Viva's names what they said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from _collection import CACHE, Variant
from _rulesets import (
    BROKEN,
    DIVERGING,
    DYING,
    EXPLODING,
    FROZEN,
    INPUT,
    LOUD,
    OVERFIT,
    SATURATED,
    SCALE,
    STUCK,
    UNSTABLE,
    VANISHING,
)
from _verdicts import Alarm, Verdict

FOLDER = CACHE / "peers"
TIME_LIMIT = 300.0  # seconds of wall time for one run
COLLAPSE = (
    "symmetric-weights",
    "capacity-too-small",
    "dead-units",
    "saturated-units",
    "mode-collapse",
    "unnormalised-input",
)

# What each package may say, by how it begins, and the causes that it could stand for. A phrase that is not here stands for none.
PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "traintools": {
        "bad batch": BROKEN + INPUT,
        "constant batch": INPUT,
        "large values": INPUT,
        "non-finite gradient": BROKEN,
        "vanished gradient": VANISHING + DYING + STUCK,
        "large gradient": EXPLODING + INPUT,
        "update ratio high": DIVERGING + EXPLODING + INPUT,
        "update ratio tiny": STUCK + VANISHING,
        "no gradients": FROZEN,
    },
    "torchmortem": {
        "Update ratio too low": STUCK + VANISHING,
        "Update ratio too high": DIVERGING + EXPLODING + INPUT,
        "Activation saturation": SATURATED,
        "Dead units": DYING,
        "High gradient noise": (*UNSTABLE, "label-noise"),
        "Vanishing gradients": VANISHING + STUCK,
        "Exploding gradients": EXPLODING + INPUT,
        "Gradient stalling": VANISHING + FROZEN,
        "Weight norm explosion": DIVERGING + EXPLODING,
        "Stagnant weight norms": STUCK + FROZEN,
        "Inter-layer weight norm imbalance": SCALE,
        "Training divergence": DIVERGING + BROKEN,
        "Loss plateau": STUCK,
        "Catapult phase": DIVERGING,
        "Rank collapse": COLLAPSE,
    },
    "training-doctor": {
        "Learning rate likely too high": DIVERGING + UNSTABLE + EXPLODING,
        "Learning rate may be too low": STUCK,
        "Gradient instability": EXPLODING + UNSTABLE,
        "Possible mixed precision instability": (*BROKEN, "amp-underflow"),
        "Overfitting": OVERFIT,
        "Unusual train/eval pattern": OVERFIT,
        "Training plateau": STUCK,
        "Early training plateau": STUCK,
    },
    "trainpulse": {
        "loss is": BROKEN,
        "grad_norm is": BROKEN,
        "Loss spike": UNSTABLE + DIVERGING,
        "Gradient explosion": EXPLODING + INPUT,
        "Vanishing gradient": VANISHING + STUCK + FROZEN,
        "Loss plateau": STUCK,
    },
}


def run_all(
    jobs: Iterable[tuple[Variant, int]], python: Path, *, cached_only: bool = False
) -> Iterator[tuple[Variant, int, dict[str, Any] | None]]:
    """Every variant with its seed, as it finishes; runs that were made before are not made again."""
    for variant, seed in jobs:
        path = FOLDER / f"{variant.digest}-{seed}.json"
        if not path.exists() and not cached_only:
            _run(variant, seed, python, path)
        yield variant, seed, json.loads(path.read_text()) if path.exists() else None


def _run(variant: Variant, seed: int, python: Path, path: Path) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [str(python), str(Path(__file__).with_name("_peers.py")), str(variant.write()), str(seed), str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    with path.with_suffix(".txt").open("w") as output:
        try:
            subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=TIME_LIMIT, check=False)
        except subprocess.TimeoutExpired:
            print(f"{variant.key}: took longer than {TIME_LIMIT:.0f} s", file=sys.stderr)


def verdicts(variant: Variant, seed: int, row: dict[str, Any]) -> dict[str, Verdict]:
    """What each package said of one run, by its name."""
    return {
        name: Verdict(variant, seed, tuple(Alarm(slugs, LOUD) for slugs in _meant(name, said)))
        for name, said in row["said"].items()
    }


def _meant(package: str, said: list[str]) -> list[tuple[str, ...]]:
    """The causes that each thing said could stand for, each phrase once."""
    found = []
    for phrase in dict.fromkeys(said):
        slugs = next((slugs for start, slugs in PHRASES[package].items() if phrase.startswith(start)), ())
        found.append(slugs or (phrase,))
    return found
