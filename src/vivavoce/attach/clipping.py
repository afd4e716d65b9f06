"""Tap on gradient clipping: the norm before, the threshold, and whether it comes in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vivavoce.attach.budget import now
from vivavoce.attach.sites import CallKey
from vivavoce.attach.tap import Tap
from vivavoce.record.entities import Clip

if TYPE_CHECKING:
    from vivavoce.attach.session import Session
    from vivavoce.record.recorder import SignalWriter


class ClipTap(Tap):
    """Wraps `clip_grad_norm_` and `clip_grad_value_` of `torch.nn.utils`."""

    name = "clipping"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._sites: dict[tuple[str, CallKey | None], SignalWriter] = {}

    def install(self) -> None:
        """Wrap both functions under both of their public names."""
        for owner in (torch.nn.utils.clip_grad, torch.nn.utils):
            self.patches.wrap(owner, "clip_grad_norm_", self._wrap_norm)
            self.patches.wrap(owner, "clip_grad_value_", self._wrap_value)

    def _wrap_norm(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def clip_grad_norm_(*args: Any, **kwargs: Any) -> Any:
            total = original(*args, **kwargs)
            if self.on and not self.session.light.on and not torch.compiler.is_compiling() and self.session.active:
                try:
                    threshold = kwargs.get("max_norm", args[1] if len(args) > 1 else float("nan"))
                    norm_type = kwargs.get("norm_type", args[2] if len(args) > 2 else 2.0)
                    self._clipped("clip_grad_norm_", threshold, norm_type, total)
                except Exception as error:
                    self.fail(error)
            return total

        return clip_grad_norm_

    def _wrap_value(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def clip_grad_value_(*args: Any, **kwargs: Any) -> Any:
            if self.on and not self.session.light.on and not torch.compiler.is_compiling() and self.session.active:
                try:
                    threshold = kwargs.get("clip_value", args[1] if len(args) > 1 else float("nan"))
                    self._clipped("clip_grad_value_", threshold, float("inf"), None)
                except Exception as error:
                    self.fail(error)
            return original(*args, **kwargs)

        return clip_grad_value_

    def _clipped(self, function: str, threshold: Any, norm_type: Any, total: Tensor | None) -> None:
        session = self.session
        started = now()
        key = (function, session.sites.key(2))
        signal = self._sites.get(key)
        if signal is None:
            id = len(self._sites)
            signal = self._sites[key] = session.recorder.signal("clip", ("clip", id), ("norm_before",))
            session.recorder.entity(
                Clip(
                    id=id,
                    function=function,
                    threshold=float(threshold),
                    norm_type=float(norm_type),
                    site=session.sites.site(2),
                    after_step=session.step > 0 and session.by_hand is None and not session.gradients_fresh(),
                )
            )
        if total is not None:
            step, writer = session.coming, signal
            session.readback.read(total.detach().reshape(1), lambda values: writer.append(step, values))
        session.budget.charge(now() - started)
