"""The labs: each proves the textbook answer to one of the nine questions, and does the same job on the user's own file.

`load` imports a lab when it is asked for, so that a list of them costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vivavoce.labs.lab import Lab


@dataclass(frozen=True)
class Entry:
    """A lab as the list shows it. `home` is its module and class, `input` what it takes besides nothing."""

    question: int
    line: str
    home: str
    input: str = ""


LABS: dict[str, Entry] = {
    "rules": Entry(
        2, "what predictions must obey, and what it is worth to make them", "vivavoce.labs.rules:Rules", "table.csv"
    ),
    "baselines": Entry(
        1,
        "whether a rule or a classical model does as well as a network",
        "vivavoce.labs.baselines:Baselines",
        "table.csv",
    ),
    "fourier": Entry(
        8,
        "the cycles in a signal, and how far they can be trusted",
        "vivavoce.labs.fourier:Fourier",
        "sound.wav | series.csv",
    ),
    "gan": Entry(
        3, "generator against critic: costs, what is made, which kinds are missing", "vivavoce.labs.gan:Gan", "photos/"
    ),
    "approximation": Entry(
        4,
        "the smallest hidden layer for an error, or the proof that there is none",
        "vivavoce.labs.approximation:Approximation",
        "EXPRESSION | points.csv",
    ),
    "fit": Entry(
        9, "too little capacity, too much, or too few data", "vivavoce.labs.fit:Fitting", "table.csv | run.db"
    ),
    "gradients": Entry(
        5,
        "how fast gradients grow, and which remedy survives and learns",
        "vivavoce.labs.gradients:Gradients",
        "train.py | run.db",
    ),
    "descent": Entry(
        6, "which batch size gets there first, and what it cannot reach", "vivavoce.labs.descent:Descent", "table.csv"
    ),
    "confusion": Entry(
        7, "which classes a classifier confuses", "vivavoce.labs.confusion:Confusion", "predictions.csv"
    ),
}


def load(name: str) -> type[Lab]:
    """The class of a lab. Raises KeyError for a name that is not in `LABS`."""
    module, _, attribute = LABS[name].home.partition(":")
    lab: type[Lab] = getattr(import_module(module), attribute)
    return lab
