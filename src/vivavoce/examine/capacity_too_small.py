"""capacity-too-small: everything has to pass a layer of one or two units."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import layer_of, main_optimizer, weights_of, where
from vivavoce.record.entities import Parameter
from vivavoce.record.run import Run

NARROW = 2  # units
RECURRENT = frozenset({"RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"})
UNITS = RECURRENT | {"Linear"}
WIDER = 4  # times: what comes before and after must be this much wider for the layer to be a bottleneck
LEFT = 0.35  # fraction of chance level that is left of the training loss
FEWEST_STEPS = 100  # steps: earlier, a high loss may still fall
STILL_FALLING = 0.1  # fraction of the level lost in the last third: a network that still learns has capacity left


class CapacityTooSmall(Detector):
    """A hidden layer of one or two units between wider ones, and a training loss that stays high and flat."""

    slug = "capacity-too-small"
    question = 4
    passing = True
    explains = ("underfitting", "stopped-too-early")

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Only bottlenecks can be seen; that a wide network is too small for a task needs trials (viva lab approximation)."""
        progress = Progress.of(run)
        if progress is None or not progress.bounded or run.steps < FEWEST_STEPS:
            return
        level = progress.chance or progress.reference
        if not level > 0:
            return
        left = progress.end / level
        if left < LEFT:
            yield RuledOut(self.slug, f"the training loss fell to {left:.0%} of chance level")
            return
        span = (progress.steps[-1] - progress.steps[0]) / 3
        flat = -progress.trend(1 / 3).slope * span < STILL_FALLING * progress.end
        neck = bottleneck(run)
        if neck is not None and flat and left < 1.0:
            yield _finding(progress, neck, left)


def bottleneck(run: Run) -> Parameter | None:
    """The weight of a layer with at most `NARROW` units that feeds a linear one; what comes before and after is wider."""
    optimizer = main_optimizer(run)
    weights = weights_of(run, optimizer) if optimizer else None
    layers = [p for p in weights.parameters if p.module_class in UNITS and "weight_ih" not in p.name] if weights else []
    for before, after in pairwise(layers):
        units = units_of(before)
        feeds = after.module_class == "Linear" and after.shape[1] == units
        wide = before.shape[1] >= WIDER * units or before.module_class in RECURRENT
        if feeds and units <= NARROW and wide and after.shape[0] >= WIDER * units:
            return before
    return None


def units_of(weight: Parameter) -> int:
    """The units of a layer: the size of the state, where it is recurrent."""
    return weight.shape[1] if weight.module_class in RECURRENT else weight.shape[0]


def _finding(progress: Progress, neck: Parameter, left: float) -> Finding:
    return Finding(
        slug=CapacityTooSmall.slug,
        severity="warning",
        confidence=0.8,
        question=CapacityTooSmall.question,
        title="The network is too small for the error that is asked for",
        why=(
            f"{layer_of(neck)} lets {units_of(neck)} number{'s' if units_of(neck) > 1 else ''} pass, and the training loss is flat at "
            f"{progress.end:.3g}, {left:.0%} of what {'a constant prediction gives' if progress.chance else 'it began with'}."
        ),
        where=where(None, layer=layer_of(neck), parameter=neck.name, first_step=1, last_step=progress.last_step),
        evidence=(
            Evidence("units of the narrowest layer", float(units_of(neck)), "units", float(NARROW), "between wider layers"),
            Evidence("training loss / chance level", left, "fraction", LEFT, "below it enough was learned"),
        ),
        remedies=(
            Remedy("wider-layer", "widen the bottleneck", f"{8 * units_of(neck)} units instead of {units_of(neck)}  # {layer_of(neck)}"),
        ),
    )  # fmt: skip
