"""The loss that the best constant prediction would have on a validation pass, beside that of the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivavoce.attach import numbers

MOST_CLASSES = 100  # counted in each batch
CLASSES, BINARY, SQUARED = "classes", "binary", "squared"
KINDS = {
    "cross_entropy": CLASSES,
    "nll_loss": CLASSES,
    "binary_cross_entropy": BINARY,
    "binary_cross_entropy_with_logits": BINARY,
    "mse_loss": SQUARED,
}
PLAIN_OPTIONS = frozenset({"input", "target", "reduction", "ignore_index"})  # others change what a constant would lose


class ConstantLoss:
    """Sums over the targets of a pass, one row a call: what the best constant needs, and what it then loses in each call."""

    def __init__(self, function: str, classes: int | None) -> None:
        self.kind = KINDS.get(function, "")
        self.classes = classes or 0
        self.usable = bool(self.kind) and self.classes <= MOST_CLASSES
        self._rows: list[list[float]] = []

    def see(self, args: Any, kwargs: dict[str, Any], target: Any, read: Callable[[Tensor, Any], None]) -> None:
        """Take the targets of one call in; `read` brings a tensor to the host when there is time."""
        options = {name for name, value in kwargs.items() if value is not None}
        plain = len(args) <= 2 and options <= PLAIN_OPTIONS and kwargs.get("reduction", "mean") == "mean"
        if not (plain and numbers.is_plain(target) and target.numel()):
            self.usable = False
            return
        row = self._summary(target.detach(), int(kwargs.get("ignore_index", -100)))
        if row is None:
            self.usable = False
            return
        read(row, self._rows.append)

    def _summary(self, target: Tensor, ignored: int) -> Tensor | None:
        if self.kind == CLASSES:
            if target.is_floating_point():
                return None
            labels = target.flatten()
            kept = (labels != ignored) & (labels >= 0) & (labels < self.classes)
            counts = torch.zeros(self.classes, dtype=torch.float64, device=labels.device)
            return counts.index_add_(0, labels.clamp(0, self.classes - 1).long(), kept.double())
        if not target.is_floating_point():
            return None
        values = target.double()
        return torch.stack([values.sum(), (values * values).sum(), torch.full_like(values.sum(), values.numel())])

    def compare(self, losses: Sequence[float], sizes: Sequence[int]) -> tuple[float, float, float, float] | None:
        """The constant's loss, the network's less that, its standard error over the calls, and the commonest class's share.

        The error is NaN of a single call, the share where there are no classes. None where the targets are not known of
        every call or allow no constant.
        """
        if not self.usable or not losses or not len(losses) == len(sizes) == len(self._rows):
            return None
        rows, weights = np.array(self._rows), np.asarray(sizes, np.float64)
        total = rows.sum(axis=0)
        constant, share = self._losses(rows, total)
        difference = np.asarray(losses) - constant
        if not np.isfinite(difference).all() or not weights.sum():
            return None
        weights = weights / weights.sum()
        mean = float(weights @ difference)
        spread = float(np.sum(weights**2 * (difference - mean) ** 2))
        calls = len(losses)
        error = math.sqrt(spread * calls / (calls - 1)) if calls > 1 else math.nan
        return float(weights @ constant), mean, error, share

    def _losses(self, rows: Any, total: Any) -> tuple[Any, float]:
        """Of each call, and the share of the commonest class."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == CLASSES:
                rates = total / total.sum()
                logs = np.where(rates > 0, np.log(rates), 0.0)
                return -(rows @ logs) / rows.sum(axis=1), float(rates.max())
            mean, count = total[0] / total[2], rows[:, 2]
            if self.kind == SQUARED:
                return (rows[:, 1] - 2 * mean * rows[:, 0] + mean**2 * count) / count, math.nan
            rate = rows[:, 0] / count
            return -(rate * np.log(mean) + (1 - rate) * np.log1p(-mean)), max(float(mean), 1 - float(mean))
