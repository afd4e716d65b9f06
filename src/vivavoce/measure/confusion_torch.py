"""Counting pairs of classes on the device where the tensors lie, without waiting for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class Accumulator:
    """Counts of pairs on one device: C² cells, and one more for pairs with a class that is none."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._cells = torch.zeros(classes * classes + 1, dtype=torch.int64, device=device)

    def add(self, real: torch.Tensor, predicted: torch.Tensor) -> None:
        """Count real classes (n,) and predicted ones (n,), or scores (n, C); a row with NaN counts as outside."""
        bad = None
        if predicted.ndim == 2:
            bad = predicted.isnan().any(dim=1)
            predicted = predicted.argmax(dim=1)
        real, predicted = real.detach().long(), predicted.detach().long()
        outside = (real < 0) | (real >= self._classes) | (predicted < 0) | (predicted >= self._classes)
        outside = outside if bad is None else outside | bad
        cells = torch.where(outside, self._classes**2, real * self._classes + predicted)
        self._cells.index_add_(0, cells, torch.ones_like(cells))

    def read(self) -> tuple[int, NDArray[np.int64]]:
        """How many pairs had a class that is none, and the counts, shape (C, C)."""
        cells = self._cells.cpu().numpy()
        return int(cells[-1]), cells[:-1].reshape(self._classes, self._classes)


def all_reduced(counts: NDArray[np.int64], group: Any = None) -> NDArray[np.int64]:
    """The sum of `counts` over the processes of a group. Raises RuntimeError where none is initialised."""
    if not torch.distributed.is_initialized():
        raise RuntimeError("torch.distributed is not initialised in this process")
    device = "cuda" if torch.distributed.get_backend(group) == "nccl" else "cpu"
    tensor = torch.tensor(counts, device=device)
    torch.distributed.all_reduce(tensor, group=group)
    summed: NDArray[np.int64] = tensor.cpu().numpy()
    return summed
