"""The confusion matrix: rows are the real classes, columns the predicted ones. Streaming, exact, mergeable.

Its memory is C² integers, however many examples are counted. Arrays are counted with NumPy; tensors where they lie,
by `confusion_torch`, which is imported only when a tensor is given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]


class ConfusionMatrix:
    """Counts of (real class, predicted class), shape (C, C).

    >>> matrix = ConfusionMatrix(["cat", "dog"])
    >>> matrix.update([0, 0, 1], [0, 1, 1])
    >>> matrix.counts.tolist()
    [[1, 1], [0, 1]]
    """

    def __init__(self, classes: int | Iterable[str], counts: ArrayLike | None = None) -> None:
        """Count `classes` classes, a number or their names; `counts` (C, C) are those to begin with.

        Raises ValueError for no class, two of one name, and counts of another shape or below zero.
        """
        self.names = _names(classes)
        self._counts = _checked_counts(counts, len(self.names))
        self._devices: dict[Any, Any] = {}  # device: its accumulator

    def __repr__(self) -> str:
        return f"ConfusionMatrix({len(self.names)} classes, {self.total:,} examples)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __getstate__(self) -> dict[str, Any]:
        return {"names": self.names, "_counts": self.counts, "_devices": {}}

    @property
    def counts(self) -> Counts:
        """The counts, shape (C, C), int64: `counts[real, predicted]`. Waits for the device where tensors were given.

        Raises ValueError where a tensor on an accelerator held a class that is none: those are not checked before,
        because a check would have to wait.
        """
        while self._devices:
            device, accumulator = self._devices.popitem()
            outside, counts = accumulator.read()
            self._counts += counts
            if outside:
                raise ValueError(f"{outside:,} pairs on {device} had a class outside 0 … {len(self.names) - 1}")
        return self._counts

    @property
    def total(self) -> int:
        """How many examples were counted."""
        return int(self.counts.sum())

    def update(self, real: Any, predicted: Any) -> None:
        """Count a batch.

        `real` (n,) are class numbers 0 … C − 1. `predicted` is (n,) as well, or scores (n, C), whose largest counts;
        of equal ones the first. Arrays, sequences or tensors, both alike. Nothing is counted where it raises.
        Raises ValueError for shapes that differ, classes that are none, and NaN among the scores; TypeError for
        labels that are not whole numbers. On an accelerator the values are checked when `counts` is read.
        """
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(real, torch.Tensor) and isinstance(predicted, torch.Tensor):
            if real.device.type != "cpu":
                self._on_device(real, predicted)
                return
            real, predicted = real.detach().numpy(), _as_array(predicted.detach())
        real, predicted = np.asarray(real), np.asarray(predicted)
        if predicted.ndim == 2:
            predicted = self._highest(predicted)
        self._add(real, predicted)

    def update_names(self, real: Sequence[str], predicted: Sequence[str]) -> None:
        """Count a batch of names, each of shape (n,). Raises KeyError for a name that is no class."""
        numbers = {name: number for number, name in enumerate(self.names)}
        self._add(np.array([numbers[name] for name in real], int), np.array([numbers[name] for name in predicted], int))

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """The sum of both, over the classes of either by name: of parts of the data, threads or processes."""
        names = [*self.names, *(name for name in other.names if name not in set(self.names))]
        numbers = {name: number for number, name in enumerate(names)}
        counts = np.zeros((len(names), len(names)), np.int64)
        for part in (self, other):
            places = [numbers[name] for name in part.names]
            counts[np.ix_(places, places)] += part.counts
        return ConfusionMatrix(names, counts)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return self.merge(other) if isinstance(other, ConfusionMatrix) else NotImplemented

    def all_reduce(self, group: Any = None) -> None:
        """Sum over the processes of an initialised `torch.distributed` group, in place, in every process.

        The classes must be the same in all of them.
        """
        self._counts = import_module("vivavoce.measure.confusion_torch").all_reduced(self.counts, group)

    def _on_device(self, real: Any, predicted: Any) -> None:
        _check_shapes(tuple(real.shape), tuple(predicted.shape), len(self.names))
        if real.device not in self._devices:
            module = import_module("vivavoce.measure.confusion_torch")
            self._devices[real.device] = module.Accumulator(len(self.names), real.device)
        self._devices[real.device].add(real, predicted)

    def _highest(self, scores: NDArray[Any]) -> NDArray[np.int64]:
        _check_shapes((len(scores),), scores.shape, len(self.names))
        if np.isnan(scores).any():
            raise ValueError(f"{int(np.isnan(scores).any(axis=1).sum()):,} of {len(scores):,} rows of scores hold NaN")
        highest: NDArray[np.int64] = scores.argmax(axis=1)
        return highest

    def _add(self, real: NDArray[Any], predicted: NDArray[Any]) -> None:
        if real.shape != predicted.shape:
            _check_shapes(real.shape, predicted.shape, len(self.names))
        classes = len(self.names)
        real, predicted = _checked(real, "real", classes), _checked(predicted, "predicted", classes)
        cells = real * classes + predicted
        np.add.at(self._counts.reshape(-1), cells, 1)  # about 1 ns an example, whatever the number of classes


def _as_array(tensor: Any) -> NDArray[Any]:
    """A tensor on the host as an array; half precision that NumPy lacks is widened."""
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _names(classes: int | Iterable[str]) -> tuple[str, ...]:
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    if not names:
        raise ValueError(f"there must be at least one class, got {classes!r}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two classes are named {twice!r}")
    return names


def _checked_counts(counts: ArrayLike | None, classes: int) -> Counts:
    if counts is None:
        return np.zeros((classes, classes), np.int64)
    array = np.array(counts)
    if array.shape != (classes, classes):
        raise ValueError(f"counts of {classes} classes have the shape ({classes}, {classes}), got {array.shape}")
    if array.dtype.kind not in "iu" or (array < 0).any():
        raise ValueError("counts are whole numbers that are not negative")
    return array.astype(np.int64)


def _check_shapes(real: tuple[int, ...], predicted: tuple[int, ...], classes: int) -> None:
    if len(real) != 1 or predicted not in (real, (*real, classes)):
        raise ValueError(
            f"real classes (n,) and predictions (n,) or scores (n, {classes}) are expected, got {real} and {predicted}"
        )


def _checked(labels: NDArray[Any], side: str, classes: int) -> NDArray[np.int64]:
    if labels.ndim != 1:
        raise ValueError(f"{side} classes must have the shape (n,), got {labels.shape}")
    if labels.dtype.kind not in "iub":
        if labels.size:
            raise TypeError(f"{side} classes must be whole numbers, got {labels.dtype}")
        return np.zeros(0, np.int64)
    whole = labels.astype(np.int64, copy=False)
    # Read as unsigned, a negative number is a huge one: one pass finds both.
    if len(whole) and whole.view(np.uint64).max() >= classes:
        wrong = whole[(whole < 0) | (whole >= classes)]
        raise ValueError(f"{len(wrong):,} {side} classes lie outside 0 … {classes - 1}, the first is {wrong[0]}")
    return whole
