"""clip-after-step and always-clipped: clipping that comes too late, or that decides everything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import at, main_optimizer, weights_of, where
from vivavoce.measure.robust import median, weighted_quantile
from vivavoce.record.entities import Clip
from vivavoce.record.run import Run

FEWEST_CALLS = 20  # calls of the clipping function
ALWAYS = 0.95  # fraction of the steps that are clipped
EVERYTHING = 300.0  # the same, where nothing of the gradients' sizes is left, whatever the optimizer makes of them
FAR = 10.0  # median norm before clipping over the threshold: clipping at this ratio sets the size of every step
MUCH_LEFT = 0.5  # fraction of the start or of chance level
SMALL_UPDATE = 1e-4  # ‖Δw‖/‖w‖ (TheDeepChecker): where clipping makes steps this small, it is to blame
NET_QUANTILE = 0.99  # of the norms before clipping: a threshold there is a safety net


class ClipAfterStep(Detector):
    """The gradients are clipped between step() and the next backward(): without any effect."""

    slug = "clip-after-step"
    question = 5
    explains = ("exploding-gradients", "gradient-spikes", "learning-rate-too-high", "non-finite",
                "oscillating-loss", "dead-units", "saturated-units", "always-clipped", "guessing", "underfitting",
                "stopped-too-early", "label-noise", "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Judge every place that clips."""
        for clip in run.clips.values():
            if clip.after_step:
                yield _late(run, clip)
                return
        if run.clips:
            yield RuledOut(self.slug, "clipping comes before the step")


class AlwaysClipped(Detector):
    """Nearly every step is clipped, far below the gradient's own norm, so that the network hardly moves."""

    slug = "always-clipped"
    question = 5
    explains = ("learning-rate-too-low", "guessing", "underfitting", "stopped-too-early", "label-noise",
                "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Clipping as step-size control is in use and works: only where the network stands still is it a fault."""
        for clip in run.clips.values():
            norms = run.series("clip", ("clip", clip.id), "norm_before").finite
            if clip.function != "clip_grad_norm_" or int(norms.counts.sum()) < FEWEST_CALLS or clip.threshold <= 0:
                continue
            share = float(np.average(norms.mean > clip.threshold, weights=norms.counts))
            ratio = weighted_quantile(norms.mean, norms.counts, 0.5) / clip.threshold
            net = weighted_quantile(norms.maximum, norms.counts, NET_QUANTILE)
            if share >= ALWAYS and ratio >= FAR and _stands_still(run):
                slow = (
                    f"so the steps are {ratio:,.0f} × smaller than the learning rate says, and the network hardly moves"
                )
                yield _always(run, clip, share, ratio, net, slow)
            elif share >= ALWAYS and ratio >= EVERYTHING and _left_much(run):
                yield _always(
                    run,
                    clip,
                    share,
                    ratio,
                    net,
                    "so large gradients count no more than small ones, and much of the loss is left",
                )
            else:
                yield RuledOut(
                    self.slug, f"{share:.0%} of the steps were clipped, the median norm is {ratio:.2g} × the threshold"
                )
            return


def _stands_still(run: Run) -> bool:
    optimizer = main_optimizer(run)
    weights = weights_of(run, optimizer) if optimizer else None
    return weights is not None and _left_much(run) and median(weights.typical_update) < SMALL_UPDATE


def _left_much(run: Run) -> bool:
    progress = Progress.of(run)
    return progress is not None and (not progress.learned or progress.remaining > MUCH_LEFT)


def _late(run: Run, clip: Clip) -> Finding:
    optimizer = main_optimizer(run)
    step = at(optimizer.step_site if optimizer else None, "optimizer.step()")
    return Finding(
        slug=ClipAfterStep.slug,
        severity="critical",
        confidence=0.97,
        question=ClipAfterStep.question,
        title="Gradients are clipped after the step that used them",
        why=f"{clip.function} at {at(clip.site)} runs after the step at {step}: the step has already used the whole gradient.",
        where=where(clip.site, first_step=1, last_step=run.steps),
        evidence=(Evidence("clip threshold", clip.threshold),),
        remedies=(Remedy("clip-before-step", "order: backward, clip, step", f"move {at(clip.site)} before {step}"),),
    )


def _always(run: Run, clip: Clip, share: float, ratio: float, net: float, effect: str) -> Finding:
    return Finding(
        slug=AlwaysClipped.slug,
        severity="warning",
        confidence=0.85,
        question=AlwaysClipped.question,
        title="Clipping sets the size of every step",
        why=(
            f"{share:.0%} of the gradients were clipped to {clip.threshold:g} at {at(clip.site)}; their median norm is {ratio:,.0f} × "
            f"that, {effect}."
        ),
        where=where(clip.site, first_step=1, last_step=run.steps),
        evidence=(
            Evidence("steps clipped", share, "fraction", ALWAYS, "nearly all"),
            Evidence("median norm over threshold", ratio, "×", FAR, "ten times"),
        ),
        remedies=(
            Remedy(
                "raise-threshold",
                "clip as a safety net",
                f"clip_grad_norm_(…, {net:.2g})  # 99 % of the run's own norms lie below",
            ),
        ),
    )
