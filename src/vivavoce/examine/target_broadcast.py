"""target-broadcast: predictions (N, 1) and targets (N,) make an N × N table of errors."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.reading import at, where
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run

BROADCASTING = frozenset(
    {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "gaussian_nll_loss", "poisson_nll_loss"}
)


class TargetBroadcast(Detector):
    """The shapes of predictions and targets differ, and the loss function broadcasts them to a larger one."""

    slug = "target-broadcast"
    question = 2
    explains = ("guessing", "underfitting", "stopped-too-early", "overfitting", "learning-rate-too-low",
                "label-noise", "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Compare the shapes that each regression loss was given in training."""
        trained = {track.owner[1] for track in run.tracks("train/function_loss") if track.owner and len(track)}
        sites = [
            run.losses[id] for id in sorted(trained) if id in run.losses and run.losses[id].function in BROADCASTING
        ]
        spread = [site for site in sites if blown_up(site.prediction_shape, site.target_shape)]
        for site in spread[:1]:
            yield _finding(run, site)
        if sites and not spread:
            yield RuledOut(self.slug, f"predictions and targets have the shape {sites[0].prediction_shape}")


def blown_up(prediction: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether broadcasting makes more elements than either side has: each prediction then meets every target."""
    if not prediction or not target or prediction == target:
        return False
    rank = max(len(prediction), len(target))
    a, b = ((1,) * (rank - len(shape)) + shape for shape in (prediction, target))
    if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
        return False
    wide = any(x > y for x, y in zip(a, b, strict=True))
    tall = any(x < y for x, y in zip(a, b, strict=True))
    return wide and tall


def _finding(run: Run, site: Loss) -> Finding:
    edit = "target.unsqueeze(1)" if len(site.prediction_shape) > len(site.target_shape) else "target.squeeze(1)"
    return Finding(
        slug=TargetBroadcast.slug,
        severity="critical",
        confidence=0.97,
        question=TargetBroadcast.question,
        title="Predictions and targets are broadcast against each other",
        why=(
            f"{site.function} at {at(site.site)} is given predictions {site.prediction_shape} and targets {site.target_shape}: every "
            f"prediction is compared with every target, so the best the network can do is to predict their mean."
        ),
        where=where(site.site, first_step=1, last_step=run.steps),
        evidence=(
            Evidence("shape of the predictions", str(site.prediction_shape)),
            Evidence("shape of the targets", str(site.target_shape)),
        ),
        remedies=(Remedy("match-shapes", "give both the same shape", edit),),
    )
