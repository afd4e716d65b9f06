"""target-broadcast: predictions (N, 1) and targets (N,) make an N × N table of errors."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.reading import at, where
from vivavoce.examine.wiring import head_of, trained_losses
from vivavoce.record.entities import Loss, Node
from vivavoce.record.run import Run

BROADCASTING = frozenset(
    {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "gaussian_nll_loss", "poisson_nll_loss"}
)

PAIRING = ("Sub", "Rsub", "Add", "Mul", "Div", "Abs", "Pow", "Maximum", "Minimum", "Where")  # of losses written by hand


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
        by_hand = None if spread else next(filter(None, (_by_hand(run, loss) for loss in trained_losses(run))), None)
        if by_hand is not None:
            yield _finding_by_hand(run, by_hand)
        elif sites and not spread:
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


def _by_hand(run: Run, loss: Loss) -> Node | None:
    """Behind the model, an operation of a column or row of predictions with a constant that makes a square table."""
    if loss.function:
        return None
    for node in head_of(run, loss):
        square = len(node.shape) == 2 and node.shape[0] == node.shape[1] > 1
        if square and node.op.startswith(PAIRING) and len(node.given) == 1 and node.constants:
            given = node.given_shapes[0]
            if given in ((node.shape[0], 1), (node.shape[0],)):
                return node
    return None


def _finding_by_hand(run: Run, node: Node) -> Finding:
    count, given = node.shape[0], node.given_shapes[0]
    other = (count,) if len(given) > 1 else (count, 1)
    return Finding(
        slug=TargetBroadcast.slug,
        severity="critical",
        confidence=0.93,
        question=TargetBroadcast.question,
        title="Predictions and targets are broadcast against each other",
        why=(
            f"At {at(node.site, 'the loss')} predictions of shape {given} meet something of shape {other} and make a table of {node.shape}: every "
            f"prediction is compared with every target, so the best the network can do is to predict their mean."
        ),
        where=where(node.site, first_step=1, last_step=run.steps),
        evidence=(
            Evidence("shape of the predictions", str(given)),
            Evidence("shape of the errors", str(node.shape)),
        ),
        remedies=(Remedy("match-shapes", "give both the same shape", "prediction.squeeze(1) - target"),),
    )


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
