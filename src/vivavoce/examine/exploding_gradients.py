"""exploding-gradients: the gradient is out of all proportion at the start, or runs away during the training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import (
    Norms,
    at,
    first_nonfinite,
    is_weight,
    learning_rate,
    main_optimizer,
    optimizer_track,
    unclipped_norms,
    weights_of,
    where,
)
from vivavoce.examine.sensitivity import Sensitivity, initial_sensitivity
from vivavoce.measure.robust import median
from vivavoce.measure.trend import robust_trend
from vivavoce.record.entities import Optimizer, Parameter
from vivavoce.record.run import Run

SENSITIVE = (
    100.0  # ‖g‖·‖w‖/L; measured on healthy networks at their start: 0.1 … 9; RNN of 100 steps at 1.1 a step: > 1e4
)
GROWTH = 100.0  # times the run's own median; TheDeepChecker calls a doubling within 5 steps, which healthy starts reach
SUSTAINED = 10.0  # times the median: what most of the last rows must exceed, else it is a spike
TAIL = 5  # rows that must be sustained
AT_ONCE = 2  # steps between the last finite norm and the first value that is not, where the one led to the other
FAR_UP = 1e6  # times the median: a median next to zero
FEWEST_ROWS = 3  # rows of finite norms for a runaway
WORSE = 2.0  # times its best: a loss this high has diverged (TheDeepChecker)
SOON = 20  # steps: a loss that is not finite this soon after a sensitive start was blown up by it
HEALTHY_UPDATE = 0.01  # ‖Δw‖/‖w‖ that a clipped step may reach: ten times the usual 1e-3
GENTLE_QUANTILE = 0.9  # of the norms before the runaway: clips one healthy step in ten


@dataclass(frozen=True)
class Runaway:
    """The norm of the whole gradient left its level: from which step, by what factor, how fast."""

    first: int
    last: int
    factor: float
    doubling: float  # steps
    healthy: float  # norm, quantile before the runaway


class ExplodingGradients(Detector):
    """The loss reacts out of proportion at the start, or the gradient's norm ran away; and the training suffered."""

    slug = "exploding-gradients"
    question = 5
    explains = ("non-finite", "gradient-spikes", "dead-units", "saturated-units", "guessing", "underfitting",
                "stopped-too-early", "oscillating-loss", "always-clipped", "vanishing-gradients", "label-noise",
                "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Judge the first step, then the course of the norm."""
        optimizer = main_optimizer(run)
        if optimizer is None:
            return
        progress = Progress.of(run)
        norms = unclipped_norms(run, optimizer)
        sensitivity = initial_sensitivity(run, optimizer)
        runaway = find_runaway(norms, first_nonfinite(run))
        held = find_held(run, norms)
        if sensitivity is not None and sensitivity.value >= SENSITIVE and _blown(run, progress):
            yield _at_start(run, optimizer, sensitivity, norms)
        elif runaway is not None and _diverged(run, progress):
            yield _in_course(run, optimizer, runaway, norms)
        elif held is not None:
            yield _held_down(run, optimizer, held)
        elif len(norms.typical) >= FEWEST_ROWS and runaway is None and first_nonfinite(run) is None:
            top = float(np.nanmax(norms.peak)) / max(median(norms.typical), 1e-300)
            stayed = f"never exceeded {top:.1f} × its median"
            returned = (
                f"rose to {top:,.0f} × its median and came back"
                if top < FAR_UP
                else "rose from next to nothing and came back"
            )
            yield RuledOut(self.slug, f"the gradient's norm {stayed if top < GROWTH else returned}")


def sensitive_start(run: Run, optimizer: Optimizer) -> bool:
    """The gradient is out of proportion before the first update: no learning rate is to blame for that."""
    sensitivity = initial_sensitivity(run, optimizer)
    return sensitivity is not None and sensitivity.value >= SENSITIVE


def _blown(run: Run, progress: Progress | None) -> bool:
    """The run was not able to cope with a sensitive start: values broke soon, or the loss stayed useless."""
    broken = first_nonfinite(run)
    if broken is not None and broken <= SOON:
        return True
    return progress is not None and progress.bounded and progress.had_room and not progress.learned


def _diverged(run: Run, progress: Progress | None) -> bool:
    if first_nonfinite(run) is not None:
        return True
    return progress is not None and progress.bounded and progress.end > WORSE * progress.best and progress.rose


def find_runaway(norms: Norms, broken: int | None = None) -> Runaway | None:
    """The stretch in which the norm left its level for good; None where it did not.

    A norm that was far above its level in the last rows before the values broke has left it for good, however short
    the stretch: an explosion accelerates.
    """
    keep = np.isfinite(norms.peak) & (norms.typical > 0)
    steps, values = norms.steps[keep].astype(np.float64), norms.typical[keep]
    if len(values) < FEWEST_ROWS:
        return None
    early = values[: max(1, len(values) // 2)]
    level = float(np.median(early))
    tail = values[-min(TAIL, len(values) - 1) :]
    ended = broken is not None and 0 <= broken - steps[-1] <= AT_ONCE and values[-1] >= GROWTH * level
    if tail.max() < GROWTH * level or (np.mean(tail >= SUSTAINED * level) < 0.5 and not ended):
        return None
    above = values >= 2 * level
    quiet = np.flatnonzero(~above)
    onset = int(quiet[-1]) if len(quiet) else 0
    with np.errstate(over="ignore"):
        slope = robust_trend(steps[onset:], np.log(values[onset:])).slope
    if math.isnan(slope):
        slope = math.log(values[-1] / values[onset]) / max(1.0, steps[-1] - steps[onset])
    if slope <= 0:
        return None
    healthy = float(np.quantile(values[: onset + 1], GENTLE_QUANTILE))
    return Runaway(int(steps[onset]), int(steps[-1]), float(tail.max()) / level, math.log(2) / slope, healthy)


def find_held(run: Run, norms: Norms) -> Runaway | None:
    """The norm left its level, and would have run away had the guard not clipped it; None where it did not."""
    clipped = [event.step for event in run.events("guard") if event.data.get("act") == "clip"]
    if not clipped:
        return None
    before, after = norms.typical[norms.steps < clipped[0]], norms.peak[norms.steps >= clipped[0]]
    known = after[np.isfinite(after)]
    level = median(before[np.isfinite(before)])
    if not len(known) or not level > 0 or known.max() < GROWTH * level:
        return None
    healthy = float(np.nanquantile(before, GENTLE_QUANTILE))
    return Runaway(clipped[0], clipped[-1], float(known.max()) / level, math.nan, healthy)


def _at_start(run: Run, optimizer: Optimizer, sensitivity: Sensitivity, norms: Norms) -> Finding:
    name = sensitivity.parameter.name
    broken = first_nonfinite(run)
    end = (
        f"the values stopped being finite at step {broken:,}" if broken is not None else "the loss never became useful"
    )
    recurrent = _recurrent(sensitivity.parameter)
    how = "backpropagation through many time steps multiplies it" if recurrent else "it grows from layer to layer"
    clipping = ", although it is clipped" if run.clips else " and nothing clips it"
    why = (
        f"Before the first update a change of {name} by 1 % would change the loss by {sensitivity.value:,.0f} %: "
        f"{how}{clipping}. The gradient's norm is {float(norms.typical[0]):.3g} at a loss of {sensitivity.loss:.3g}; {end}."
    )
    return _finding(
        run,
        optimizer,
        sensitivity.parameter,
        why,
        (
            Evidence(
                f"‖∂L/∂w‖·‖w‖/L of {name}", sensitivity.value, "", SENSITIVE, "measured: 0.1 … 9 on healthy networks"
            ),
        ),
        (sensitivity.step, broken if broken is not None else run.steps),
        _step_limit(run, optimizer),
        0.97 if broken is not None else 0.85,
    )


def _in_course(run: Run, optimizer: Optimizer, runaway: Runaway, norms: Norms) -> Finding:
    parameter = _fastest(run, optimizer, runaway)
    broken = first_nonfinite(run)
    end = f", first infinite or NaN at step {broken:,}" if broken is not None else ""
    name = f"‖grad {parameter.name}‖" if parameter else "The gradient's norm"
    why = (
        f"{name} doubled every {runaway.doubling:.2g} steps from step {runaway.first:,} on and reached "
        f"{runaway.factor:,.0f} × its level{end}" + ("." if run.clips else "; nothing clips it.")
    )
    return _finding(
        run,
        optimizer,
        parameter,
        why,
        (
            Evidence(
                "growth over the run's own median", runaway.factor, "×", GROWTH, "of the median of the first half"
            ),
            Evidence("doubling time", runaway.doubling, "steps"),
        ),
        (runaway.first, broken if broken is not None else runaway.last),
        runaway.healthy,
        0.95 if broken is not None else 0.85,
    )


def _held_down(run: Run, optimizer: Optimizer, held: Runaway) -> Finding:
    parameter = _fastest(run, optimizer, held)
    name = f"‖grad {parameter.name}‖" if parameter else "The gradient's norm"
    return _finding(
        run,
        optimizer,
        parameter,
        f"{name} ran away at step {held.first:,}: the guard held it down from there on, and still the gradient reached "
        f"{held.factor:,.0f} × its level before. The script itself does nothing against it.",
        (Evidence("growth over the median before the guard acted", held.factor, "×", GROWTH, "before it was clipped"),),
        (held.first, held.last),
        held.healthy,
        0.9,
    )


def _recurrent(parameter: Parameter) -> bool:
    return parameter.module_class in {"RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"}


def _fastest(run: Run, optimizer: Optimizer, runaway: Runaway) -> Parameter | None:
    """The weight whose gradient grew most during the runaway."""
    track = optimizer_track(run, "gradient_norm", optimizer)
    if track is None:
        return None
    rows = track.mean[(track.steps >= runaway.first) & (track.steps <= runaway.last)]
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2:
        return None
    with np.errstate(all="ignore"):
        growth = np.where(rows[0] > 0, rows[-1] / rows[0], -np.inf)
    candidates = [
        i for i, id in enumerate(track.columns) if id in run.parameters and is_weight(run.parameters[int(id)])
    ]
    best = max(candidates, key=lambda i: growth[i], default=None)
    return run.parameters[int(track.columns[best])] if best is not None else None


def _step_limit(run: Run, optimizer: Optimizer) -> float:
    """The norm at which a plain gradient step changes the weights by `HEALTHY_UPDATE`; 1 where that is unknown."""
    weights, rate = weights_of(run, optimizer), learning_rate(optimizer)
    if weights is None or not rate or "Adam" in optimizer.class_name:
        return 1.0
    total = float(np.sqrt(np.nansum(weights.weight[0] ** 2)))
    return HEALTHY_UPDATE * total / rate if total > 0 else 1.0


def _finding(
    run: Run,
    optimizer: Optimizer,
    parameter: Parameter | None,
    why: str,
    evidence: tuple[Evidence, ...],
    steps: tuple[int, int],
    threshold: float,
    confidence: float,
) -> Finding:
    return Finding(
        slug=ExplodingGradients.slug,
        severity="critical",
        confidence=confidence,
        question=ExplodingGradients.question,
        title="The gradients explode",
        why=why,
        where=where(
            optimizer.step_site,
            parameter=parameter.name if parameter else None,
            layer=parameter.name.rpartition(".")[0] or None if parameter else None,
            first_step=steps[0],
            last_step=max(steps),
        ),
        evidence=evidence,
        remedies=_remedies(optimizer, parameter, threshold),
    )


def _remedies(optimizer: Optimizer, parameter: Parameter | None, threshold: float) -> tuple[Remedy, ...]:
    place = at(optimizer.step_site, "optimizer.step()")
    clip = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {float(f'{threshold:.2g}'):g})  # before {place}"
    remedies = [Remedy("clip-norm", "clip the gradient's norm", clip)]
    if parameter is not None and parameter.module_class == "RNN":
        remedies.append(
            Remedy("lstm-for-rnn", "replace the plain recurrence by an LSTM", "nn.LSTM(…)  # for nn.RNN(…)")
        )
    rate = learning_rate(optimizer)
    if rate:
        edit = f"{optimizer.class_name}(…, lr={rate / 10:.2g})  # at {at(optimizer.site)}"
        remedies.append(Remedy("lower-learning-rate", "lower the learning rate", edit))
    return tuple(remedies)
