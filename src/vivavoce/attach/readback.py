"""Brings numbers from the device to Python without making the device wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vivavoce.attach import numbers

FLUSH_STEPS = 16  # steps whose numbers travel together

Deliver = Callable[[list[float]], None]


class Readback:
    """Queues small tensors and delivers their values as Python floats.

    On the CPU the values are there and are delivered at once. On a CUDA device they are joined, copied into pinned
    memory without blocking, and delivered when an event says that the copy is done: a few steps later.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, Deliver]] = []
        self._flying: deque[tuple[Any, Tensor, list[tuple[int, Deliver]]]] = deque()
        self._age = 0

    def read(self, values: Tensor, deliver: Deliver) -> None:
        """Deliver the values of a one-dimensional tensor of shape (n,), now or a few steps later."""
        if not numbers.readable(values):
            return
        if values.device.type == "cpu":
            deliver(values.tolist())
        else:
            self._waiting.append((values.to(torch.float32), deliver))

    @property
    def idle(self) -> bool:
        """Nothing is on its way."""
        return not (self._waiting or self._flying)

    def tick(self) -> None:
        """Once a step: start copies, deliver those that have arrived."""
        if self._waiting:
            self._age += 1
            if self._age >= FLUSH_STEPS:
                self._launch()
        while self._flying and self._flying[0][0].query():
            self._land()

    def drain(self) -> None:
        """Deliver everything; waits for the device. For the end of the run."""
        if self._waiting:
            self._launch()
        while self._flying:
            self._flying[0][0].synchronize()
            self._land()

    def _launch(self) -> None:
        waiting, self._waiting, self._age = self._waiting, [], 0
        by_device: dict[torch.device, list[tuple[Tensor, Deliver]]] = {}
        for values, deliver in waiting:
            by_device.setdefault(values.device, []).append((values, deliver))
        for device, items in by_device.items():
            joined = torch.cat([values for values, _ in items])
            receivers = [(len(values), deliver) for values, deliver in items]
            event, host = _copy_to_host(device, joined)
            self._flying.append((event, host, receivers))

    def _land(self) -> None:
        _, host, receivers = self._flying.popleft()
        values: list[float] = host.tolist()
        start = 0
        for count, deliver in receivers:
            deliver(values[start : start + count])
            start += count


class _Arrived:
    """Stands for the event on devices whose copies block."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        return None


def _copy_to_host(device: torch.device, values: Tensor) -> tuple[Any, Tensor]:
    if device.type != "cuda":
        return _Arrived(), values.to("cpu")
    with torch.cuda.device(device):
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
    return event, host
