"""The numbers recorded of an optimizer: norms of gradients and weights, the size of its steps, its learning rates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vivavoce.attach import numbers

if TYPE_CHECKING:
    from vivavoce.attach.optimizer_state import OptimizerState
    from vivavoce.attach.session import Session

ALARM_GROWTH = 0.7  # nats: a total norm twice its running geometric mean raises the alarm
NORM_MEMORY = 0.03  # weight of the newest log-norm in that mean
NO_GRADIENT = -1.0  # stands for a gradient that is None


class OptimizerSignals:
    """Reads what an optimizer works on, and records it."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def read_gradients(self, state: OptimizerState, step: int, handed: list[Tensor | None] | None = None) -> None:
        """Record the norms of all gradients of an optimizer's parameters, or of those given; one fused reading a device."""
        count = len(state.parameters)
        gradients = [parameter.grad for parameter in state.parameters] if handed is None else handed
        present = [gradient for gradient in gradients if gradient is not None]
        if not state.simple:
            present = [numbers.plain(gradient) for gradient in present]
        if not present:
            self._deliver(state, step, [NO_GRADIENT] * count)
            return
        where = None if len(present) == count else [i for i, gradient in enumerate(gradients) if gradient is not None]

        def deliver(values: list[float]) -> None:
            if where is not None:
                row = [NO_GRADIENT] * count
                for index, value in zip(where, values, strict=True):
                    row[index] = value
                self._deliver(state, step, row)
            else:
                self._deliver(state, step, values)

        self.session.readback.read(numbers.norms(present), deliver)

    def _deliver(self, state: OptimizerState, step: int, row: list[float]) -> None:
        signal, session = state.gradient_norm, self.session
        if signal is None or len(row) != len(signal.columns):
            return
        signal.append(step, np.array(row))
        present = [norm for norm in row if norm != NO_GRADIENT] if NO_GRADIENT in row else row
        total = session.latest.gradient_norm = math.hypot(*present)
        if not math.isfinite(total):
            if not session.failures.exhausted:
                session.budget.alarm(session.step)
            session.failures.gradient(state, step, np.array(row))
        elif total > 0:
            self._watch_growth(state, math.log(total))

    def _watch_growth(self, state: OptimizerState, log_norm: float) -> None:
        if state.log_norm is None:
            state.log_norm = log_norm
        elif log_norm - state.log_norm > ALARM_GROWTH:
            self.session.budget.alarm(self.session.step)
        state.log_norm += NORM_MEMORY * (log_norm - state.log_norm)

    def read_rates(self, state: OptimizerState, optimizer: Any) -> None:
        """Record the learning rates of an optimizer's groups where they have changed."""
        rates = [group.get("lr", math.nan) for group in optimizer.param_groups]
        if rates != state.learning_rates:
            if any(isinstance(rate, Tensor) for rate in rates):
                if any(isinstance(rate, Tensor) and rate.device.type != "cpu" for rate in rates):
                    return  # reading it would make the device wait
                rates = [float(rate) for rate in rates]
            signal = state.rate_signal
            if signal is not None and rates != state.learning_rates and len(rates) == len(signal.columns):
                signal.append(self.session.step, rates)
            state.learning_rates = rates

    def record_change(self, state: OptimizerState, before: list[Tensor]) -> None:
        """Record norms of the weights before a step and the ratio of the step's change to them."""
        session, step = self.session, self.session.step
        after = [numbers.sample(parameter) for parameter in state.parameters]
        changes = [new - old if new.shape == old.shape else old for new, old in zip(after, before, strict=True)]
        scales = [
            math.sqrt(numbers.reals(p) / max(b.numel(), 1)) for p, b in zip(state.parameters, before, strict=True)
        ]
        owner = ("optimizer", state.id)
        weights_signal = session.recorder.signal("weight_norm", owner, tuple(state.ids))
        ratio_signal = session.recorder.signal("update_ratio", owner, tuple(state.ids))

        def deliver(values: list[float]) -> None:
            weights, change = np.array(values[: len(before)]), np.array(values[len(before) :])
            weights_signal.append(step, weights * np.array(scales))
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio_signal.append(step, np.where(weights > 0, change / weights, np.where(change > 0, np.nan, 0.0)))

        session.readback.read(numbers.norms(before + changes), deliver)
