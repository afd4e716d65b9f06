"""Tap on `GradScaler`: the loss before scaling, and the steps it skips."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vivavoce.attach.tap import Tap

if TYPE_CHECKING:
    from vivavoce.attach.session import Session


MOST_SCALED = 16  # scaled losses remembered until backward is called on them


class ScalerTap(Tap):
    """Wraps `scale` and `step` of `torch.amp.GradScaler`."""

    name = "scaler"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.scaled: list[tuple[weakref.ref[Tensor], Tensor]] | None = None  # scaled losses and what they were before

    def install(self) -> None:
        """Wrap both methods on the common base of all devices' scalers."""
        scaler = torch.amp.grad_scaler.GradScaler
        self.patches.wrap(scaler, "scale", self._wrap_scale)
        self.patches.wrap(scaler, "step", self._wrap_step)

    def before(self, loss: Any) -> Tensor | None:
        """The loss that was scaled into this tensor, None where it was not scaled."""
        return next((raw for scaled, raw in self.scaled or () if scaled() is loss), None)

    def raw(self, loss: Tensor) -> Tensor | None:
        """The same; it is not asked for again."""
        found = self.before(loss)
        alive = [e for e in self.scaled or () if (scaled := e[0]()) is not None and scaled is not loss]
        self.scaled = alive or None
        return found

    def _wrap_scale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            if self.on and self.session.active:
                try:
                    self._note(result, outputs)
                except Exception as error:
                    self.fail(error)
            return result

        return scale

    def _wrap_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.on or not self.session.active:
                return original(scaler, optimizer, *args, **kwargs)
            before = self._steps(optimizer)
            result = original(scaler, optimizer, *args, **kwargs)
            if self.on and before is not None and self._steps(optimizer) == before:
                self._skipped(scaler)
            return result

        return step

    def _note(self, result: Any, outputs: Any) -> None:
        if not self.session.light.barred:  # steps may be skipped: each is looked at
            self.session.light.barred = True
            self.session.look_closer()
        if isinstance(outputs, Tensor):
            self.scaled = [*(self.scaled or [])[-MOST_SCALED:], (weakref.ref(result), outputs.detach())]
        elif isinstance(outputs, (list, tuple)):
            for scaled, raw in zip(result, outputs, strict=False):
                self._note(scaled, raw)

    def _steps(self, optimizer: Any) -> int | None:
        """Steps of an optimizer so far; None where it is not followed."""
        try:
            return self._count(optimizer) if self.session.follows(optimizer) else None
        except Exception as error:
            self.fail(error)
            return None

    def _count(self, optimizer: Any) -> int:
        state = self.session.optimizers.states.get(id(optimizer))
        return 0 if state is None else state.steps

    def _skipped(self, scaler: Any) -> None:
        try:
            self.session.recorder.event(self.session.coming, "scaler-skip", scale=_scale_of(scaler))
        except Exception as error:
            self.fail(error)


def _scale_of(scaler: Any) -> float | None:
    scale = getattr(scaler, "_scale", None)
    return float(scale) if isinstance(scale, Tensor) and scale.device.type == "cpu" else None
