"""parameters-not-optimized: parameters receive gradients, but no optimizer holds them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import SEVERITIES, Evidence, Finding, Remedy, RuledOut, Severity
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import (
    NO_GRADIENT,
    at,
    critics,
    held,
    layer_of,
    main_optimizer,
    optimizer_track,
    scalars,
    some,
    where,
)
from vivavoce.examine.sensitivity import as_drawn
from vivavoce.record.entities import Optimizer, Parameter
from vivavoce.record.run import Run

FEWEST_ROWS = 3  # recorded steps without a gradient before an optimizer counts as idle from the start
FEWEST_IDLE = 20  # recorded steps without a gradient at the end before one that was busy counts as idle
WORTH = 0.05  # of the scalars that the optimizer holds: fewer, left random, change little
MOST = 0.5  # fraction of a model's scalars: with half of them standing still the rest trains on random features


class ParametersNotOptimized(Detector):
    """Trainable parameters that the loss reaches and no optimizer holds: part of a model, or another model altogether."""

    slug = "parameters-not-optimized"
    question = 2
    explains = ("no-gradient", "guessing", "underfitting", "learning-rate-too-low", "vanishing-gradients",
                "stopped-too-early", "class-ignored", "overfitting", "label-noise", "capacity-too-small",
                "batch-too-large", "learning-rate-too-high", "mode-collapse", "discriminator-dominates", "generator-dominates")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Look at models of which nothing is held, then at models held in part."""
        optimizer = main_optimizer(run)
        if optimizer is not None and _never_steps(run, optimizer):
            yield _no_step(run, optimizer)
            return
        trained = [p for p in run.parameters.values() if p.trainable and p.reached and p.model is not None]
        if optimizer is None or not trained:
            return
        missing = [p for p in trained if not p.optimizers and not p.tied]
        if not missing:
            yield RuledOut(self.slug, "every trainable parameter that the loss reaches is held by an optimizer")
            return
        found = sorted(
            _of_models(run, optimizer, trained, missing), key=lambda finding: SEVERITIES.index(finding.severity)
        )
        for finding in found[:1]:
            others = sum(other.severity == finding.severity for other in found[1:])
            more = f" So it is with {others} more model{'s' if others > 1 else ''}." if others else ""
            yield finding.with_(why=finding.why + more)


def _of_models(run: Run, optimizer: Optimizer, trained: list[Parameter], missing: list[Parameter]) -> Iterator[Finding]:
    """A finding for each model that is held in part or not at all."""
    partly = {p.model for p in trained if p.optimizers}
    for model in sorted({p.model for p in missing if p.model is not None}):
        of_model = [p for p in missing if p.model == model]
        if model in partly:
            yield _part_missing(run, optimizer, of_model, [p for p in trained if p.model == model])
        else:
            yield from _other_model(run, optimizer, of_model)


def _never_steps(run: Run, optimizer: Optimizer) -> bool:
    """Gradients are made, by no optimizer's step, and nothing ever moves the weights; nor does the loss fall."""
    updates, progress = optimizer_track(run, "update_ratio", optimizer), Progress.of(run)
    if optimizer.class_name or updates is None or len(updates) < FEWEST_ROWS or progress is None or progress.learned:
        return False
    known = np.isfinite(updates.mean)
    return bool(known.any() and (updates.mean[known] == 0).all())


def _no_step(run: Run, optimizer: Optimizer) -> Finding:
    loss, calls = run.main_loss, int(run.train_loss.counts.sum())
    made = "An optimizer was made, but its step() is never called" if _made_and_idle(run) else "No optimizer ever steps"
    return Finding(
        slug=ParametersNotOptimized.slug,
        severity="critical",
        confidence=0.95 if _made_and_idle(run) else 0.85,
        question=ParametersNotOptimized.question,
        title="The weights are never updated",
        why=f"{made}: backward() was called {calls:,} times, and the weights are what they were at the beginning.",
        where=where(loss.site if loss else None, first_step=1, last_step=run.steps),
        evidence=(Evidence("largest update ‖Δw‖/‖w‖", 0.0, "", 0.0, "weights compared between backward calls"),),
        remedies=(Remedy("missing-step", "let the optimizer step", f"optimizer.step()  # after {at(loss.site if loss else None, 'loss.backward()')}"),),
    )  # fmt: skip


def _idle_since(run: Run, optimizer: Optimizer) -> int | None:
    """The step since which none of the optimizer's parameters had a gradient; None where they have some at the end."""
    track = optimizer_track(run, "gradient_norm", optimizer)
    if track is None or len(track) < FEWEST_ROWS:
        return None
    busy = np.flatnonzero((track.maximum != NO_GRADIENT).any(axis=1))
    first = int(busy[-1]) + 1 if len(busy) else 0
    rows = len(track) - first
    return int(track.steps[first]) if rows >= (FEWEST_IDLE if first else FEWEST_ROWS) else None


def _critic(run: Run, missing: list[Parameter]) -> bool:
    """The parameters belong to a model that is called with data and with what another network made."""
    return missing[0].model in critics(run)


def _most_stands_still(run: Run, missing: list[Parameter]) -> bool:
    """Most of what the loss reaches is in no optimizer, and the rest does not learn the task alone."""
    progress = Progress.of(run)
    trained = [p for p in run.parameters.values() if p.trainable and p.reached]
    stuck = progress is not None and progress.bounded and progress.had_room and progress.remaining > MOST
    return stuck and scalars(missing) >= MOST * scalars(trained)


def _made_and_idle(run: Run) -> bool:
    """An optimizer was made that never stepped: ids are given when optimizers are made, and recorded when they step."""
    return bool(run.optimizers) and max(run.optimizers) >= len(run.optimizers)


def _idle_holds(run: Run, missing: list[Parameter]) -> bool:
    """An optimizer was made with these parameters, and never stepped."""
    made = run.meta.get("optimizers_made", {})
    idle = [ids for id, ids in made.items() if int(id) not in run.optimizers]
    return any({p.id for p in missing} <= set(ids) for ids in idle)


def _never_trained(run: Run, missing: list[Parameter]) -> bool:
    """Most of the weights outside of every optimizer are as PyTorch draws them: random, and not learned before."""
    norms = {
        id: norm
        for event in run.events("unheld")
        for id, norm in zip(event.data.get("parameters", ()), event.data.get("norms", ()), strict=False)
    }
    return as_drawn(missing, norms)


def _held(run: Run, optimizer: Optimizer) -> list[Parameter]:
    return [run.parameters[id] for id in held(optimizer) if id in run.parameters]


def _one_player(run: Run) -> bool:
    progress = Progress.of(run)
    return progress is not None and progress.players < 2


def _own_loss(run: Run) -> bool:
    """There are several places where gradients are made: the model that stands still has a loss of its own."""
    return len({track.owner for track in run.tracks("train/loss") if track.owner and len(track)}) > 1


def _other_model(run: Run, optimizer: Optimizer, missing: list[Parameter]) -> Iterator[Finding]:
    """The loss trains a model that no optimizer holds; grave only where the optimizer's own model stands idle."""
    model = run.models.get(missing[0].model if missing[0].model is not None else -1)
    name = model.name if model else "the model"
    holds = sorted(
        {run.parameters[id].model for id in held(optimizer) if id in run.parameters} - {None, missing[0].model}
    )  # type: ignore[type-var]
    others = some([run.models[id].name for id in holds if id in run.models]) or "other parameters"
    since = _idle_since(run, optimizer)
    if since is not None:
        never = "never receive one" if since <= 1 else f"receive none from step {since:,} on"
        why = (
            f"The loss is computed by {name}, but the optimizer made at {at(optimizer.site)} holds {others}: "
            f"{len(missing)} parameters receive gradients that no step uses, and those in the optimizer {never}."
        )
        yield _finding(run, optimizer, missing, why, "critical", 0.97, 1.0)
    elif _critic(run, missing) and _own_loss(run):
        why = (
            f"{name} judges data and what another network makes, and has a loss of its own, but no optimizer moves it: its "
            f"{len(missing)} parameters stay as they were."
        )
        yield _finding(run, optimizer, missing, why, "critical", 0.9, 1.0)
    elif _most_stands_still(run, missing):
        why = (
            f"{name} is reached by the loss, but no optimizer holds it: {scalars(missing):,} scalars receive gradients that no step "
            f"uses, and what the optimizer holds ({others}) does not bring the loss down by itself."
        )
        yield _finding(run, optimizer, missing, why, "critical", 0.85, 1.0)
    elif _idle_holds(run, missing) or (_made_and_idle(run) and _one_player(run) and _own_loss(run)):
        why = (
            f"{name} receives gradients, and an optimizer was made that never steps: {len(missing)} parameters "
            f"({scalars(missing):,} scalars) stay as they were."
        )
        yield _finding(run, optimizer, missing, why, "critical", 0.88, 1.0)
    elif _never_trained(run, missing) and scalars(missing) >= WORTH * scalars(_held(run, optimizer)):
        why = (
            f"{name} is reached by the loss, and its weights are random ones as PyTorch draws them, but no optimizer holds it: "
            f"{len(missing)} parameters ({scalars(missing):,} scalars) receive gradients that no step uses."
        )
        yield _finding(run, optimizer, missing, why, "warning", 0.85, 1.0)
    else:
        why = f"{name} receives gradients, but no optimizer holds it; if that is meant, requires_grad_(False) saves the work."
        yield _finding(run, optimizer, missing, why, "note", 0.5, 1.0)


def _part_missing(run: Run, optimizer: Optimizer, missing: list[Parameter], trained: list[Parameter]) -> Finding:
    fraction = scalars(missing) / max(1, scalars(trained))
    layers = list(dict.fromkeys(layer_of(p) for p in missing))
    progress = Progress.of(run)
    stuck = progress is not None and progress.bounded and not progress.learned
    severity: Severity = "critical" if fraction >= MOST or stuck else "warning"
    why = (
        f"{len(missing)} of {len(trained)} parameters that the loss reaches ({fraction:.0%} of the scalars: {some(layers)}) are in "
        f"no optimizer: they receive gradients at every step and never change."
    )
    return _finding(run, optimizer, missing, why, severity, 0.93, fraction)


def _finding(
    run: Run,
    optimizer: Optimizer,
    missing: list[Parameter],
    why: str,
    severity: Severity,
    confidence: float,
    fraction: float,
) -> Finding:
    return Finding(
        slug=ParametersNotOptimized.slug,
        severity=severity,
        confidence=confidence,
        question=ParametersNotOptimized.question,
        title="No optimizer holds parameters that receive gradients",
        why=why,
        where=where(
            optimizer.site,
            layer=layer_of(missing[0]),
            parameter=missing[0].name,
            first_step=missing[0].first_step,
            last_step=run.steps,
        ),
        evidence=(
            Evidence(
                "scalars with gradient and without optimizer",
                fraction,
                "fraction of the model",
                0.0,
                "all should be held",
            ),
        ),
        remedies=(
            Remedy(
                "optimize-all",
                "give the optimizer the parameters of the model that is trained",
                f"{optimizer.class_name}(model.parameters(), …)  # at {at(optimizer.site, 'the place where the optimizer is made')}",
            ),
            Remedy(
                "freeze",
                "or freeze them, if they are meant to stay",
                f"# requires_grad_(False) for {some([p.name for p in missing])}",
            ),
        ),
    )
