"""gradients-not-zeroed: every step adds to the gradients of all steps before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.reading import at, held, where
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run

FEWEST_STEPS = 5  # steps; the first has nothing to carry over
STALE = 0.9  # fraction of steps; one forgotten clear a run is harmless, clearing once an epoch is not


class GradientsNotZeroed(Detector):
    """Gradients of before the last step were still there at (nearly) every step, and nothing clears them."""

    slug = "gradients-not-zeroed"
    question = 6
    explains = ("exploding-gradients", "gradient-spikes", "non-finite", "learning-rate-too-high",
                "oscillating-loss", "dead-units", "saturated-units", "guessing", "underfitting",
                "stopped-too-early", "always-clipped", "label-noise", "capacity-too-small",
                "mode-collapse", "discriminator-dominates", "generator-dominates")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Judge every optimizer by its own steps."""
        fractions = {}
        for optimizer in run.optimizers.values():
            if not _moves(run, optimizer):
                continue
            stale = run.series("step", ("optimizer", optimizer.id), "stale").finite
            stale = stale.where(_follows(stale.steps))
            total = int(stale.counts.sum())
            if total >= FEWEST_STEPS:
                fractions[optimizer.id] = float(np.sum(stale.mean * stale.counts)) / total
        guilty = [
            id for id, fraction in fractions.items() if fraction >= STALE and not _cleared(run, run.optimizers[id])
        ]
        for id in guilty:
            yield _finding(run.optimizers[id], fractions[id], run)
        if fractions and not guilty:
            because = f"gradients were cleared before {1 - max(fractions.values()):.0%} of the steps"
            yield RuledOut(self.slug, because if max(fractions.values()) < STALE else "zero_grad is called in the loop")


def _follows(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of the step right after the row before, or of several steps: after steps not looked at nothing is known."""
    if not len(steps):
        return np.zeros(0, dtype=np.bool_)
    gaps = np.diff(steps, prepend=steps[:1])
    return np.asarray((gaps <= 1) | (gaps == np.median(gaps)))


def _moves(run: Run, optimizer: Optimizer) -> bool:
    """Whether the optimizer ever changed a weight; accumulation before a first step may look like updates by hand."""
    updates = [
        track for track in run.tracks("update_ratio") if track.owner == ("optimizer", optimizer.id) and len(track)
    ]
    return not updates or any(bool((track.maximum != 0).any()) for track in updates)


def _cleared(run: Run, optimizer: Optimizer) -> bool:
    """Whether the gradients are cleared somewhere in a loop where another optimizer's backward may refill them.

    In adversarial training the generator's backward leaves gradients in the discriminator, which clears them before
    its own: stale by the letter, and healthy.
    """
    if len(run.optimizers) == 1:
        return False
    models = {run.parameters[id].model for id in held(optimizer) if id in run.parameters}
    events = run.events("gradients-cleared")
    return optimizer.zero_grad_site is not None or any(
        event.data.get("optimizer") == optimizer.id or event.data.get("model") in models - {None} for event in events
    )


def _finding(optimizer: Optimizer, fraction: float, run: Run) -> Finding:
    step = at(optimizer.step_site, "optimizer.step()")
    cleared = run.events("gradients-cleared")
    place = (
        f"; the only zero_grad() seen is at {at_event(cleared[0].data)}" if cleared else "; zero_grad() is never called"
    )
    why = (
        f"Before {fraction:.0%} of the steps the gradients of earlier steps were still there{place}. "
        f"Each step follows the sum of all gradients since the start, not the gradient of its batch."
    )
    return Finding(
        slug=GradientsNotZeroed.slug,
        severity="critical",
        confidence=0.97,
        question=GradientsNotZeroed.question,
        title="Gradients are never cleared between steps",
        why=why,
        where=where(optimizer.step_site, first_step=1, last_step=run.steps),
        evidence=(
            Evidence(
                "steps that began with old gradients", fraction, "fraction", STALE, "1 of 10 steps cleared is allowed"
            ),
        ),
        remedies=(Remedy("zero-grad", "clear the gradients each step", f"optimizer.zero_grad()  # after {step}"),),
    )


def at_event(data: dict[str, object]) -> str:
    """The place of an event in words."""
    file, line = str(data.get("file", "")), data.get("line", "?")
    return f"{file.rpartition('/')[2]}:{line}" if file else "an unknown place"
