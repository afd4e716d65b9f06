"""symmetric-weights: layers whose units start identical, so that they all compute the same for ever."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import (
    Weights,
    layer_of,
    of_no_layer,
    optimizer_track,
    some,
    stepped_optimizers,
    weights_of,
    where,
)
from vivavoce.record.entities import Optimizer, Parameter
from vivavoce.record.run import Run

EARLIEST = 5  # step of the first sample: weights that are still zero then have not moved at all
FEWEST = 2  # weight matrices that start at zero: a single one (the last of a residual block, say) is a known trick
FEWEST_SAMPLES = 5  # sampled steps
SAME = 0.999  # fraction of a weight's units that equal the first one
LATE = 10  # step: one step is enough to tell units apart, so what is equal later stays so
LAYERS = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d", "RNN", "GRU", "LSTM", "Bilinear"})


class SymmetricWeights(Detector):
    """Hidden layers whose units are still equal after some steps, or several weights that start at zero and teach nothing."""

    slug = "symmetric-weights"
    question = 2
    explains = ("guessing", "dead-units", "vanishing-gradients", "no-gradient", "underfitting", "learning-rate-too-low",
                "learning-rate-too-high", "class-ignored", "stopped-too-early", "activation-scale", "capacity-too-small",
                "label-noise", "saturated-units", "oscillating-loss")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Equal units that move are proof; zero weights need harm beside them."""
        optimizers = stepped_optimizers(run)
        equal = [parameter for optimizer in optimizers for parameter in _equal(run, optimizer)]
        progress = Progress.of(run)
        if equal and progress is not None:
            yield _finding(run, [layer_of(p) for p in equal], "still have only equal units", LATE)
            return
        sampled = [weights for optimizer in optimizers if (weights := weights_of(run, optimizer))]
        if not sampled or any(int(weights.steps[0]) > EARLIEST for weights in sampled) or progress is None:
            return
        alike = [parameter for optimizer in optimizers for parameter in _equal_at_start(run, optimizer)]
        if len(alike) >= FEWEST and not progress.learned and progress.had_room and _stuck(progress):
            yield _finding(run, [layer_of(p) for p in alike], "begin with equal units", 1)
            return
        zero, kept = [p for p in zero_at_start(run) if _of_units(p)], _never_leave_zero(sampled)
        if len(kept) >= FEWEST:
            yield _finding(run, [layer_of(p) for p in kept], "are all zero from the first step to the last", 1)
            return
        still = (
            bool(zero)
            and all((weights.update[:, 0] == 0).all() for weights in sampled)
            and len(sampled[0].parameters) == len(zero)
        )
        alike = [p for p in zero if not _told_apart(run, p)]
        stuck = not progress.learned and progress.had_room and _stuck(progress)
        if (len(alike) >= FEWEST or (alike and still)) and stuck:
            yield _finding(
                run, [layer_of(p) for p in alike], "are all zero at the first step", int(sampled[0].steps[0])
            )
        elif zero and not alike:
            yield RuledOut(
                self.slug, f"{some([layer_of(p) for p in zero])} began at zero, and the units became different"
            )
        elif not zero:
            yield RuledOut(self.slug, _range(sampled[0]))


def zero_at_start(run: Run) -> list[Parameter]:
    """The weights that were all zero when they were first sampled, near the start."""
    sampled = [weights for optimizer in stepped_optimizers(run) if (weights := weights_of(run, optimizer))]
    return [
        p
        for weights in sampled
        if int(weights.steps[0]) <= EARLIEST
        for p, norm in zip(weights.parameters, weights.weight[0], strict=True)
        if norm == 0
    ]


def _stuck(progress: Progress) -> bool:
    return progress.bounded or progress.end >= progress.start - progress.error


def _range(weights: Weights) -> str:
    return f"the weights start with norms from {np.min(weights.weight[0]):.2g}, no two units equal"


def _equal(run: Run, optimizer: Optimizer) -> list[Parameter]:
    """Weights of hidden layers that move and whose units are equal at the last sample."""
    track = optimizer_track(run, "equal_units", optimizer)
    updates = optimizer_track(run, "update_ratio", optimizer)
    if track is None or updates is None or not len(track) or int(track.steps[-1]) < LATE:
        return []
    found = []
    for i, id in enumerate(track.columns):
        parameter = run.parameters.get(int(id))
        if parameter is None or not track.mean[-1, i] >= SAME:
            continue
        if not _of_units(parameter):
            continue
        moved = updates.columns.count(id) and bool((updates.maximum[:, updates.columns.index(id)] > 0).any())
        if moved:
            found.append(parameter)
    return found


def _told_apart(run: Run, parameter: Parameter) -> bool:
    """Whether a weight's units are no longer equal at the last sample: zeros beside weights that are none become different."""
    for track in run.tracks("equal_units"):
        if parameter.id in track.columns and len(track):
            return bool(track.mean[-1, track.columns.index(parameter.id)] < SAME)
    return False


def _equal_at_start(run: Run, optimizer: Optimizer) -> list[Parameter]:
    """Weights that are not zero and all of whose units were equal at first: rounding alone may tell them apart later."""
    track, norms = (optimizer_track(run, name, optimizer) for name in ("equal_units", "weight_norm"))
    if track is None or norms is None or not len(track) or not len(norms) or int(track.steps[0]) > EARLIEST:
        return []
    ids = [id for i, id in enumerate(track.columns) if track.mean[0, i] >= SAME and id in norms.columns]
    alike = [run.parameters[int(id)] for id in ids if norms.mean[0, norms.columns.index(id)] > 0]
    return [parameter for parameter in alike if _of_units(parameter)]


def _of_units(parameter: Parameter) -> bool:
    """A weight of several units, which a column of biases, one for each user or word, is not."""
    return parameter.module_class in LAYERS or of_no_layer(parameter)


def _never_leave_zero(sampled: list[Weights]) -> list[Parameter]:
    """Weights that were zero at every sample although steps were taken: factors of a product keep one another there."""
    return [
        p
        for weights in sampled
        for i, p in enumerate(weights.parameters)
        if len(weights.steps) >= FEWEST_SAMPLES
        and (weights.weight[:, i] == 0).all()
        and (weights.gradient[:, i] >= 0).all()
    ]


def _finding(run: Run, layers: list[str], how: str, step: int) -> Finding:
    return Finding(
        slug=SymmetricWeights.slug,
        severity="critical",
        confidence=0.93,
        question=SymmetricWeights.question,
        title="Units start identical and stay identical",
        why=(
            f"{len(layers)} weight matrices ({some(layers)}) {how}: their units compute the same and receive the same gradient, or none, "
            f"so they never become different, and a layer of many units works like one of one."
        ),
        where=where(None, layer=layers[0], first_step=step, last_step=run.steps),
        evidence=(
            Evidence("weight matrices with equal units", float(len(layers)), "count", 0.0, "one that starts at zero may be meant"),
        ),
        remedies=(
            Remedy("he-initialisation", "start from small random weights", "nn.init.kaiming_normal_(layer.weight)"),
        ),
    )  # fmt: skip
