"""Tap on `backward`: the raw loss of every call, before anything can filter or average it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vivavoce.attach import numbers
from vivavoce.attach.budget import now
from vivavoce.attach.sites import CallKey
from vivavoce.attach.tap import Tap
from vivavoce.record.entities import Loss

if TYPE_CHECKING:
    from vivavoce.attach.session import Session
    from vivavoce.record.recorder import SignalWriter

ALARM_RATIO = 4.0  # a loss this many mean absolute deviations above its running mean raises the alarm
MEMORY = 0.05  # weight of the newest loss in the running mean and deviation
WARM_UP = 20  # losses before the alarm works


class BackwardSite:
    """A place where backward is called, and the running mean of the loss there."""

    def __init__(self, id: int, signal: SignalWriter) -> None:
        self.id = id
        self.signal = signal
        self.seen = 0
        self.mean = 0.0
        self.deviation = 0.0

    def surprising(self, value: float) -> bool:
        """Take a finite loss in; True where it stands out above those before."""
        difference = value - self.mean
        surprise = self.seen > WARM_UP and difference > ALARM_RATIO * self.deviation + abs(self.mean)
        weight = MEMORY if self.seen > WARM_UP else 1.0 / (self.seen + 1)
        self.mean += weight * difference
        self.deviation += weight * (abs(difference) - self.deviation)
        self.seen += 1
        return surprise


class BackwardTap(Tap):
    """Wraps `torch.autograd.backward`, which `Tensor.backward` calls too."""

    name = "backward"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.sites: dict[CallKey | None, BackwardSite] = {}
        self._depth = 0

    def install(self) -> None:
        """Wrap backward."""
        self.patches.wrap(torch.autograd, "backward", self._wrap)

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not self.on or self._depth or not self.session.awake():
                return original(*args, **kwargs)
            self._depth = 1
            try:
                tensors = args[0] if args else kwargs.get("tensors")
                try:
                    self._before(tensors)
                except Exception as error:
                    self.fail(error)
                result = original(*args, **kwargs)
                self.session.backward_over()
                return result
            finally:
                self._depth = 0

        return backward

    def _before(self, tensors: Any) -> None:
        session = self.session
        started = now()
        loss = tensors if isinstance(tensors, Tensor) else tensors[0]
        session.optimizers.backward_begins()
        session.loaders.backward_begins()
        session.losses.backward_begins()
        site = self._site(loss)
        raw = session.scaler.raw(loss)
        self._read(site, raw if raw is not None else loss)
        deep = session.graph.before_backward(site.id, loss)
        spent = now() - started - deep
        session.budget.charge(spent)

    def _site(self, loss: Tensor) -> BackwardSite:
        key = self.session.sites.key(3)
        site = self.sites.get(key)
        if site is None:
            id = self.session.take_loss_id()
            signal = self.session.recorder.signal("train/loss", ("loss", id), ("loss",))
            site = self.sites[key] = BackwardSite(id, signal)
            self.session.recorder.entity(
                Loss(
                    id=id,
                    source="backward",
                    function=self.session.losses.function_of(loss),
                    site=self.session.sites.site(3),
                )
            )
        return site

    def _read(self, site: BackwardSite, loss: Tensor) -> None:
        value = numbers.plain(loss)
        if value.numel() != 1:
            value = value.mean()
        session, step = self.session, self.session.coming
        if value.device.type == "cpu":
            self._deliver(site, step, value.item(), loss)
        else:
            session.readback.read(value.detach().reshape(1), lambda values: self._deliver(site, step, values[0], None))

    def _deliver(self, site: BackwardSite, step: int, value: float, loss: Tensor | None) -> None:
        site.signal.append(step, (value,))
        self.session.latest.loss = value
        if value - value != 0.0:  # NaN or infinite
            self.session.budget.alarm(self.session.step)
            self.session.failures.loss(site.id, step, value, loss)
        elif site.surprising(value):
            self.session.budget.alarm(self.session.step)
