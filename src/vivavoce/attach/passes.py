"""Validation passes: the calls of one loss function without a training step between them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch.nn.modules.dropout import _DropoutNd

from vivavoce.attach.constant import ConstantLoss
from vivavoce.record.entities import Loss

if TYPE_CHECKING:
    from vivavoce.attach.registry import ModelState
    from vivavoce.record.recorder import Recorder

LARGER = 2  # times a training batch that a pass must hold to be no look at the training batch itself


class Pass:
    """Sums over one pass."""

    def __init__(self, step: int, constant: ConstantLoss) -> None:
        self.step = step  # training steps before it
        self.constant = constant
        self.values: list[float] = []
        self.sizes: list[int] = []
        self.hits = 0.0
        self.judged = 0.0
        self.dropout: float | None = None  # the largest share that a layer drops meanwhile; None where gradients are on

    def close(self, recorder: Recorder, loss: Loss, batch: int) -> None:
        """Record the pass; `batch` is the number of examples of a training batch."""
        finite = [(v, n) for v, n in zip(self.values, self.sizes, strict=False) if n]  # the mean of no example is NaN
        examples = sum(n for _, n in finite)
        if not examples:
            return
        if loss.reduction == "sum":
            finite = [(v / n, n) for v, n in finite]
        mean = sum(v * n for v, n in finite) / examples
        spread = sum(n * (v - mean) ** 2 for v, n in finite) / examples if math.isfinite(mean) else math.nan
        accuracy = self.hits / self.judged if self.judged else math.nan
        owner = ("loss", loss.id)
        signal = recorder.signal("val/loss", owner, ("loss", "deviation", "batches", "examples", "accuracy"))
        signal.append(self.step, (mean, math.sqrt(spread), float(len(finite)), float(examples), accuracy))
        compared = self.constant.compare([v for v, _ in finite], [n for _, n in finite])
        if compared is not None:
            columns = ("loss", "difference", "error", "share")
            recorder.signal("val/constant", owner, columns).append(self.step, compared)
        if self.dropout is not None and examples >= LARGER * batch > 0:
            recorder.signal("val/dropout", owner, ("share",)).append(self.step, (self.dropout,))


def active_dropout(models: Iterable[ModelState]) -> float:
    """The largest share that a dropout layer of a model in training mode drops; 0 where none does."""
    roots = [root for state in models if (root := state.root()) is not None and root.training]
    layers = (module for root in roots for module in root.modules() if isinstance(module, _DropoutNd))
    return max((float(layer.p) for layer in layers if layer.training), default=0.0)
