"""Trainings that climb: a minus sign before the loss, or an optimizer that maximises."""

from __future__ import annotations

from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import main_optimizer
from vivavoce.examine.wiring import head_of, stem, trained_losses
from vivavoce.record.entities import Node, Optimizer
from vivavoce.record.run import Run

#: What the loss functions leave in the graph; none of them is meant to be large.
LOSSES = frozenset(
    {
        "NllLoss",
        "NllLoss2D",
        "MseLoss",
        "SmoothL1Loss",
        "HuberLoss",
        "BinaryCrossEntropy",
        "BinaryCrossEntropyWithLogits",
    }
)


def maximised(run: Run) -> Node | Optimizer | None:
    """What makes a training with one optimizer maximise a loss function, and that rises: a minus sign, or the optimizer."""
    progress = Progress.of(run)
    if progress is None or progress.players > 1 or progress.loss is None or not progress.rose:
        return None
    optimizer = main_optimizer(run)
    turned = optimizer is not None and any(group.get("maximize") for group in optimizer.groups)
    nodes = head_of(run, next(iter(trained_losses(run)), None))
    minus = nodes[-1] if nodes and stem(nodes[-1].op) == "Neg" and set(map(stem, nodes[-1].given)) & LOSSES else None
    return None if turned and minus else optimizer if turned else minus
