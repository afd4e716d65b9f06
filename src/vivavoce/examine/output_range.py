"""output-range: the last operation confines the outputs to a range in which the targets do not lie."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Where
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import at, critics, maker_of, where
from vivavoce.examine.target_broadcast import BROADCASTING
from vivavoce.examine.wiring import head_of, stem, trained_losses
from vivavoce.measure.robust import median
from vivavoce.record.entities import Loss, Model, Module, Node
from vivavoce.record.run import Run

RANGES: dict[str, tuple[float, float]] = {
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Relu": (0.0, float("inf")),
    "Softplus": (0.0, float("inf")),
    "LogSoftmax": (float("-inf"), 0.0),
    "LogSigmoid": (float("-inf"), 0.0),
}
CUT = frozenset({"Clamp", "ClampMin", "ClampMax", "Hardtanh", "Hardsigmoid"})  # at limits that only the outputs show
BOUNDED = frozenset({"Sigmoid", "Softmax", "Tanh"}) | CUT
SCALING = frozenset(
    {"Mul", "Add", "Sub", "Rsub", "Div", "View", "Squeeze", "Unsqueeze", "Reshape", "Select", "Slice", "Expand"}
)
PRESSED = 0.02  # of the range of all predictions: within it the extremes of a batch lie at a limit
FEWEST_SAMPLES = 5  # sampled batches
RECTIFIERS = frozenset({"ReLU", "Threshold", "Softplus", "ReLU6"})
BEYOND_WIDTH = 0.15  # of the range of the targets of a batch: half a deviation, where they spread evenly
BEYOND = (
    0.5  # standard deviations of the targets by which their extremes must lie outside: rounding and outliers do less
)


class OutputRange(Detector):
    """Sigmoid, tanh or ReLU at the end of a regression whose targets lie outside of what it can give."""

    slug = "output-range"
    question = 2
    explains = ("underfitting", "guessing", "saturated-units", "dead-units", "vanishing-gradients",
                "stopped-too-early", "learning-rate-too-low", "label-noise", "capacity-too-small",
                "discriminator-dominates", "mode-collapse", "generator-dominates")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Compare the range of the last operation with the extremes of the recorded targets."""
        trained = {track.owner[1] for track in run.tracks("train/function_loss") if track.owner and len(track)}
        for id in sorted(trained):
            site = run.losses.get(id)
            limits = (_limits(site) or _scaled_limits(run, site)) if site else None
            if site is None or limits is None:
                continue
            owner = ("loss", id)
            low, high, deviation = (median(run.series("target", owner, name).mean) for name in ("min", "max", "std"))
            below, above = limits[0] - low, high - limits[1]
            if max(below, above) > BEYOND * deviation > 0:
                yield _before_loss(run, site, limits, (low, high))
                return
            yield RuledOut(self.slug, f"targets {low:.2g} … {high:.2g} lie within reach of the outputs")
        yield from _compared(run)
        yield from _rectified(run)
        yield from _made(run)


def _compared(run: Run) -> Iterator[Finding]:
    """A squashed output from which a constant is subtracted, and the difference squared: errors, written by hand."""
    for loss in trained_losses(run):
        for node in head_of(run, loss):
            limits = next((RANGES[op] for op in map(stem, node.given) if op in RANGES), None)
            if node.constant_range is None or limits is None:
                continue
            low, high = node.constant_range
            if max(limits[0] - low, high - limits[1]) > BEYOND_WIDTH * (high - low) > 0:
                yield _by_hand(run, node, stem(node.given[0]), limits, (low, high))
                return


def _rectified(run: Run) -> Iterator[Finding]:
    """The last module is a rectifier, and only a scale stands between it and targets of both signs."""
    progress = Progress.of(run)
    if progress is None or progress.loss is None or progress.loss.function not in BROADCASTING or progress.learned:
        return
    low, deviation = (median(run.series("target", ("loss", progress.loss.id), name).mean) for name in ("min", "std"))
    for model in run.models.values():
        last = _last_layer(run, model)
        if last and last.class_name in RECTIFIERS and -low > BEYOND * deviation > 0:
            high = median(run.series("target", ("loss", progress.loss.id), "max").mean)
            yield _out_of_reach(run, model, last, (0.0, math.inf), (low, high))
            return


def _made(run: Run) -> Iterator[Finding]:
    """In a game of two networks: the data that the critic is shown lie outside of what the other network can make."""
    rivals = critics(run)
    for critic in sorted(rivals):
        maker, owner = maker_of(run, critic), ("model", critic)
        low, high, deviation = (median(run.series("input", owner, name).mean) for name in ("min", "max", "std"))
        for model in run.models.values():
            last = _last_layer(run, model)
            plays = model.id == maker or (maker is None and model.id not in rivals)
            limits = RANGES.get(last.class_name) if last and plays else None
            if last and limits and max(limits[0] - low, high - limits[1]) > BEYOND * deviation > 0:
                yield _out_of_reach(run, model, last, limits, (low, high))
                return


def _last_layer(run: Run, model: Model) -> Module | None:
    """The module of a model that was built last: in most networks the one that makes the output."""
    return max((m for m in run.modules.values() if m.model == model.id), key=lambda m: m.id, default=None)


def _out_of_reach(
    run: Run, model: Model, last: Module, limits: tuple[float, float], data: tuple[float, float]
) -> Finding:
    why = (
        f"The last layer of {model.name} is {last.class_name}, which gives {limits[0]:g} to {limits[1]:g}; what its outputs are "
        f"compared with goes from {data[0]:.3g} to {data[1]:.3g}."
    )
    place = where(model.site, layer=last.name, first_step=1, last_step=run.steps)
    return _finding(why, place, 0.9, last.class_name, last.name, limits, data)


def _limits(site: Loss) -> tuple[float, float] | None:
    if site.function not in BROADCASTING:
        return None
    return next((limits for name, limits in RANGES.items() if site.prediction_op.startswith(name)), None)


def _scaled_limits(run: Run, site: Loss) -> tuple[float, float] | None:
    """A range that outputs are squashed into and then scaled to: the predictions press against it in most samples."""
    low, high = (run.series("prediction", ("loss", site.id), name).finite.mean for name in ("min", "max"))
    if site.function not in BROADCASTING or len(low) < FEWEST_SAMPLES or not _squashed(run):
        return None
    least, most = float(low.min()), float(high.max())
    width = PRESSED * (most - least)
    pressed = median(low[len(low) // 2 :]) < least + width, median(high[len(high) // 2 :]) > most - width
    return (least if pressed[0] else -math.inf, most if pressed[1] else math.inf) if any(pressed) else None


def _squashed(run: Run) -> bool:
    """Behind the last layer of the model its outputs are squashed or cut, and then nothing but scaled and shifted."""
    main = run.main_loss
    head = [stem(node.op) for node in head_of(run, main)] if main is not None else []
    last = max((i for i, op in enumerate(head) if op in BOUNDED), default=None)
    before_loss = head[last + 1 : -1] if last is not None else []
    return last is not None and all(op in SCALING for op in before_loss)


def _by_hand(
    run: Run, node: Node, operation: str, limits: tuple[float, float], targets: tuple[float, float]
) -> Finding:
    why = (
        f"At {at(node.site, 'the loss')} the output of {operation}, which gives {limits[0]:g} to {limits[1]:g}, is compared with "
        f"numbers from {targets[0]:.3g} to {targets[1]:.3g}."
    )
    place = where(node.site, first_step=1, last_step=run.steps)
    return _finding(why, place, 0.93, operation, f"the {operation} at the end", limits, targets)


def _before_loss(run: Run, site: Loss, limits: tuple[float, float], targets: tuple[float, float]) -> Finding:
    last = stem(site.prediction_op)
    named = last in RANGES or last in CUT
    operation = last if named else "a squashing function and a scale"
    why = (
        f"The last operation before {site.function} at {at(site.site)} is {operation}, which gives {limits[0]:g} to {limits[1]:g}; "
        f"the targets of a batch go from {targets[0]:.3g} to {targets[1]:.3g}."
    )
    place = where(site.site, first_step=1, last_step=run.steps)
    dropped = f"the {operation} at the end" if named else f"{operation} at the end"
    return _finding(why, place, 0.95, operation, dropped, limits, targets)


def _finding(
    why: str,
    place: Where,
    confidence: float,
    operation: str,
    dropped: str,
    limits: tuple[float, float],
    targets: tuple[float, float],
) -> Finding:
    return Finding(
        slug=OutputRange.slug,
        severity="critical",
        confidence=confidence,
        question=OutputRange.question,
        title="The outputs cannot reach the targets",
        why=why,
        where=place,
        evidence=(
            Evidence("lowest target", targets[0], "", limits[0], f"range of {operation}"),
            Evidence("highest target", targets[1], "", limits[1], f"range of {operation}"),
        ),
        remedies=(
            Remedy(
                "linear-output", "end with the linear layer, or scale the targets into the range", f"drop {dropped}"
            ),
        ),
    )
