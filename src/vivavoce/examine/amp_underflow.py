"""amp-underflow: half precision cannot hold the gradients: GradScaler keeps skipping steps, or gradients are exactly zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import main_optimizer, optimizer_track, some, where
from vivavoce.record.run import Run

SKIPPED = (
    0.2  # fraction of the later steps that GradScaler skipped; healthy: one after every 2,000 (its growth interval)
)
FEWEST_SKIPS = 5  # skips; a new scaler skips a few steps until its scale fits
TINY_SCALE = 1.0  # a scale below it makes gradients smaller: they overflow for another reason than half precision
HALF = "float16"
ZERO = 0.9  # fraction of the recorded steps in which a float16 weight's gradient is exactly zero


class AmpUnderflow(Detector):
    """GradScaler never finds a scale, or float16 weights receive gradients of exactly zero."""

    slug = "amp-underflow"
    question = 0
    explains = ("non-finite", "no-gradient", "guessing", "underfitting", "learning-rate-too-low", "vanishing-gradients",
                "stopped-too-early", "label-noise")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Skips at the beginning are how a scaler works."""
        skips = [event for event in run.events("scaler-skip") if event.step > run.steps // 2]
        later = max(1, run.steps - run.steps // 2)
        if len(skips) >= FEWEST_SKIPS and len(skips) / (later + len(skips)) > SKIPPED:
            scale = skips[-1].data.get("scale")
            yield _skipping(run, len(skips), len(skips) / (later + len(skips)), scale)
            return
        zero = _zero_gradients(run)
        progress = Progress.of(run)
        if zero and progress is not None and progress.bounded and not progress.learned:
            yield _zero(run, zero)
        elif run.events("scaler-skip"):
            yield RuledOut(self.slug, f"GradScaler skipped {len(skips)} steps in the second half")


def _zero_gradients(run: Run) -> list[str]:
    optimizer = main_optimizer(run)
    track = optimizer_track(run, "gradient_norm", optimizer) if optimizer else None
    if track is None:
        return []
    share = np.mean(track.maximum == 0, axis=0)
    known = [(run.parameters.get(int(id)), float(part)) for id, part in zip(track.columns, share, strict=True)]
    cast = any(loss.precision == HALF for loss in run.losses.values())
    return [p.name for p, part in known if p is not None and (cast or p.dtype == HALF) and part > ZERO]


def _skipping(run: Run, count: int, share: float, scale: object) -> Finding:
    small = isinstance(scale, (int, float)) and scale < TINY_SCALE
    reason = (
        f"its scale has fallen to {scale:.2g}, so the gradients overflow in full precision, too: look for the NaN"
        if small
        else "no scale fits both the largest and the smallest gradients"
    )
    return Finding(
        slug=AmpUnderflow.slug,
        severity="critical",
        confidence=0.85,
        question=AmpUnderflow.question,
        title="Half precision cannot hold the gradients",
        why=f"GradScaler skipped {count:,} steps in the second half of the run ({share:.0%}): {reason}.",
        where=where(None, first_step=run.steps // 2, last_step=run.steps),
        evidence=(Evidence("steps skipped", share, "fraction", SKIPPED, "a fitting scale: below 0.001"),),
        remedies=(
            Remedy("bfloat16", "a half precision with the range of float32", "torch.autocast(device, dtype=torch.bfloat16)"),
            Remedy("full-precision", "rule out the range of half precision", "train a few hundred steps without autocast"),
        ),
    )  # fmt: skip


def _zero(run: Run, names: list[str]) -> Finding:
    return Finding(
        slug=AmpUnderflow.slug,
        severity="critical",
        confidence=0.8,
        question=AmpUnderflow.question,
        title="Gradients underflow in half precision",
        why=f"The gradients of {some(names)} pass through float16 and are exactly zero at nearly every step: they lie below 6e-8.",
        where=where(None, parameter=names[0], first_step=1, last_step=run.steps),
        evidence=(Evidence("float16 weights with zero gradients", float(len(names)), "count", 0.0, "smallest float16: 6e-8"),),
        remedies=(
            Remedy("grad-scaler", "scale the loss before backward", "scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()"),
            Remedy("bfloat16", "a half precision with the range of float32", "torch.autocast(device, dtype=torch.bfloat16)"),
        ),
    )  # fmt: skip
