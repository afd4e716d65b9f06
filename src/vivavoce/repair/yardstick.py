"""The yardstick: the one number by which original and arms are compared, and whether they can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vivavoce.repair import reading
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.reading import Better, Reading

OF_THE_LOSS = (reading.VALIDATION_LOSS, reading.TRAINING_LOSS)  # in order of preference
OF_ANY_LOSS = (reading.VALIDATION_ACCURACY, reading.CHANCE_LEFT, reading.TRAINING_ACCURACY)


@dataclass(frozen=True)
class Yardstick:
    """A name of `reading`, which way it is better, and why it was taken where it is not the script's own loss."""

    name: str
    better: Better
    because: str = ""

    def measures(self, original: Outcome, other: Reading | Outcome) -> bool:
        """Whether a level of `other` can be held against the original's; an original that failed has none."""
        return self.name not in OF_THE_LOSS or original.failed or original.kind.comparable(other.kind)


class NoYardstickError(Exception):
    """Nothing that was recorded says which run is the better one; the message says what to give."""


def choose(original: Outcome, arms: Iterable[Outcome], metric: str | None, better: Better) -> Yardstick:
    """The yardstick for the original and these arms.

    A printed number that was asked for; else the script's own validation loss, else its training loss; where a remedy changes what the loss is,
    the first that does not depend on it. Raises NoYardstickError.
    """
    runs = [run for run in (original, *arms) if run.trained]
    if metric is not None:
        return _of_metric(metric, better, runs)
    if max((run.players for run in runs), default=1) > 1:
        raise NoYardstickError(
            "two networks play against each other here: their losses do not say which run is better. "
            "Name a number that the script prints: --metric NAME --better higher|lower"
        )
    ended = [run for run in runs if not run.failed] or runs
    same = all(ended[0].kind.comparable(run.kind) for run in ended)
    names = OF_THE_LOSS if same else OF_ANY_LOSS
    name = next((name for name in names if ended and all(name in run.levels for run in ended)), None)
    if name is None:
        raise NoYardstickError(_nothing_common(same))
    because = "" if same else "a remedy changes what the loss is"
    return Yardstick(name, reading.better_of(name), because)


def _of_metric(metric: str, better: Better, runs: Sequence[Outcome]) -> Yardstick:
    name = reading.PRINTED + metric
    ended = [run for run in runs if not run.failed]  # one that was given up did not come to print it
    if ended and not any(name in run.levels for run in ended):
        raise NoYardstickError(
            f"no run printed a number called {metric!r}; expected a line with `{metric} 0.5`, `{metric}: 0.5` or `{metric}=0.5`"
        )
    return Yardstick(name, better)


def _nothing_common(same: bool) -> str:
    why = (
        "no loss was recorded"
        if same
        else "a remedy changes what the loss is, and nothing else was recorded in all runs"
    )
    return f"{why}: name a number that the script prints, with --metric NAME --better higher|lower"
