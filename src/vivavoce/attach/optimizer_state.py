"""What is known of one optimizer, and whether its gradients were cleared between two steps."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import Parameter

from vivavoce.attach import numbers
from vivavoce.record.entities import Site

if TYPE_CHECKING:
    from vivavoce.record.recorder import SignalWriter

PROBE_STEPS = 10  # steps in which a parameter with a gradient is looked for, to tell whether gradients are cleared


class OptimizerState:
    """What is known of one optimizer. Holds its parameters only as long as the optimizer lives."""

    def __init__(self, id: int, optimizer: Any, site: Site | None) -> None:
        self.id = id
        self.optimizer = weakref.ref(optimizer) if optimizer is not None else lambda: None
        self.class_name = type(optimizer).__name__ if optimizer is not None else ""
        self.site = site
        self.step_site: Site | None = None
        self.zero_grad_site: Site | None = None
        self.closure = False
        self.sentinel: Tensor | None = None  # on the CPU, a parameter near the input: a NaN on its way back reaches it
        self.simple = False  # every gradient is a plain dense real tensor
        self.followed = True  # False where `watch` was given other models and optimizers
        self.steps = 0
        self.parameters: list[Tensor] = []
        self.ids: list[int] = []
        self.held = 0  # parameters in its groups, those without data counted
        self.backward_calls = 0  # since the last step
        self.stale = False  # gradients of before the last step were still there
        self.probe: Tensor | None = None  # a parameter whose gradient tells whether it was cleared
        self.probe_gradient: weakref.ref[Tensor] | None = None
        self.probe_version = -1
        self.learning_rates: list[float] = []
        self.deep = False  # the coming step is sampled
        self.before: list[Tensor] | None = None  # weights before a sampled step
        self.log_norm: float | None = None  # running mean of the log of the total gradient norm
        self.gradient_norm: SignalWriter | None = None
        self.step_signal: SignalWriter | None = None
        self.rate_signal: SignalWriter | None = None
        self.forgetting: weakref.finalize[Any, Any] | None = None

    def mark_gradient(self) -> None:
        """A step is over: remember a gradient and its version, so that the next backward can tell whether it was cleared."""
        self.backward_calls = 0
        self.stale = False
        gradient = self.probe.grad if self.probe is not None else None
        if gradient is None and self.steps <= PROBE_STEPS:
            with_gradient = [p for p in self.parameters if p.grad is not None]
            self.probe = min(with_gradient, key=Tensor.numel, default=None)
            self.sentinel = next((p for p in with_gradient if p.is_cpu and numbers.simple(p.grad)), None)
            gradient = self.probe.grad if self.probe is not None else None
            self.simple = len(with_gradient) == len(self.parameters) and all(
                type(p) in (Tensor, Parameter) and numbers.simple(p.grad) for p in with_gradient
            )
        if gradient is None:
            self.probe_gradient = None
        else:
            self.probe_gradient = weakref.ref(gradient)
            self.probe_version = gradient._version

    def forget_gradient(self) -> None:
        """Nothing can be said on what the gradients were before."""
        self.probe_gradient = None

    def backward_begins(self) -> None:
        """A backward call starts: count it, and see whether gradients of before the last step are still there.

        Another network's backward may come in between (GANs), so a gradient counts as carried over only where it is
        still there when the last backward before the step begins.
        """
        gradient = self.probe.grad if self.probe is not None else None
        if gradient is None:
            self.stale = False
        elif self.backward_calls == 0:
            same = self.probe_gradient is not None and gradient is self.probe_gradient()
            unchanged = same and gradient._version == self.probe_version
            self.stale = unchanged and numbers.holds_anything(gradient)
        elif self.stale:
            self.stale = numbers.holds_anything(gradient)
        self.backward_calls += 1
