"""Light steps: rounds of steps on which only the raw loss is read, and their fast path on networks with one optimizer.

A step of a tiny network takes less than a millisecond and leaves nothing of ours in the processor's caches, so what
counts on it is how many objects are touched, not how much is computed: each costs a miss. The fast path therefore
keeps all that it needs in one object with slots.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vivavoce.attach.optimizer_state import OptimizerState
    from vivavoce.attach.session import Session

_C_TYPES: dict[torch.dtype, Any] = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}


class Light:
    """The round of light steps that goes on, if one does.

    `on`: a round goes on, and `left` of its steps are still to come. `key`: `id` of the one optimizer, where there is
    but one and its steps need no more than counting; None where each has to be looked at. `last`: its step that goes
    on is the round's last. `fast`: the next backward call needs no more than its loss. `backward_calls`: since the last
    step, where `key` is set. `barred`: steps have to be looked at each.
    """

    __slots__ = (
        "_settled",
        "backward_calls",
        "barred",
        "fast",
        "key",
        "kind",
        "last",
        "left",
        "on",
        "sentinel",
        "state",
    )

    def __init__(self) -> None:
        self.barred = False
        self.key: int | None = None
        self.state: OptimizerState | None = None
        self.sentinel: Tensor | None = None  # a parameter on the CPU whose gradient is looked at
        self.kind: Any = None  # C type of that gradient
        self.left = self.backward_calls = self._settled = 0
        self.end()

    def begin(self, session: Session, steps: int) -> None:
        """Begin a round; one of no steps is none."""
        self.end()
        self.on = steps > 0
        self.left = self._settled = steps
        self.backward_calls = 0
        if self.on and not self.barred and _is_simple(session):
            (self.state,) = session.optimizers.known()
            self.key = id(self.state.optimizer())
            if not session.failures.exhausted:
                self.sentinel, self.kind = self.state.sentinel, _kind_of(self.state.sentinel)
            self.fast = not session.losses.waiting

    def pause(self) -> None:
        """The next backward call has something to settle."""
        self.fast = False

    def resume(self) -> None:
        """It was settled."""
        self.fast = self.key is not None

    def settle(self) -> int:
        """The number of steps taken since the last settlement; the one optimizer's state learns of them."""
        taken, self._settled = self._settled - self.left, self.left
        if self.state is not None:
            self.state.steps += taken
            self.state.backward_calls = self.backward_calls
        return taken

    def end(self) -> None:
        """No more light steps: what is held of the optimizer is let go."""
        self.on = self.fast = self.last = False
        self.key = self.state = self.sentinel = self.kind = None


def finite_at(parameter: Tensor | None, kind: Any = None) -> bool:
    """Whether the first element of a gradient is finite, read from its memory: a tenth of an indexing's cost.

    `kind` is the element's C type, where it is known. True where there is no gradient, or none that can be read.
    """
    gradient = None if parameter is None else parameter.grad
    if gradient is None or not gradient.is_cpu:  # a model may move to a device in the middle of a round
        return True
    kind = kind or _kind_of(parameter)
    if kind is None:
        return True
    value: float = kind.from_address(gradient.data_ptr()).value
    return value - value == 0.0


def _kind_of(parameter: Tensor | None) -> Any:
    """The C type of the elements of a gradient on the CPU; None where there is none to be read."""
    gradient = None if parameter is None else parameter.grad
    if gradient is None or not gradient.is_cpu or gradient.numel() == 0:
        return None
    return _C_TYPES.get(gradient.dtype)


def _is_simple(session: Session) -> bool:
    """One optimizer with dense gradients on the CPU and no closure, nothing compiled, nothing under way."""
    states = session.optimizers.known()
    return (
        len(states) == 1
        and states[0].simple
        and states[0].followed
        and not states[0].closure
        and all(parameter.is_cpu for parameter in states[0].parameters)
        and session.by_hand is None
        and session.blackbox.capture is None
        and session.preflight is None
        and session.guard is None
        and not session.compiling
        and session.readback.idle
    )
