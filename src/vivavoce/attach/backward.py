"""Tap on `backward`: the raw loss of every call, before anything can filter or average it."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from sys import _getframe
from typing import TYPE_CHECKING, Any

import numpy as np
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
HABIT = 0.998  # a step: how slowly a surprise is forgotten that nothing followed, a half-life of about 350 steps
_TENSOR_BACKWARD = Tensor.backward.__code__  # between the user's call and ours


class BackwardSite:
    """A place where backward is called, and the running mean of the loss there."""

    __slots__ = ("deviation", "habit", "id", "losses", "mean", "seen", "signal", "steps")

    def __init__(self, id: int, signal: SignalWriter) -> None:
        self.id = id
        self.signal = signal
        self.steps = array("q")  # of the light steps whose losses are not with the recorder yet
        self.losses = array("d")
        self.seen = 0
        self.mean = 0.0
        self.deviation = 0.0
        self.habit = 0.0  # by how much losses have stood out above the mean before

    def surprising(self, value: float) -> bool:
        """Take a finite loss in; True where it stands out above those before, more than others have."""
        difference = value - self.mean
        self.habit *= HABIT
        surprise = self.seen > WARM_UP and difference > max(ALARM_RATIO * self.deviation + abs(self.mean), self.habit)
        if surprise:
            self.habit = difference
        weight = MEMORY if self.seen > WARM_UP else 1.0 / (self.seen + 1)
        self.mean += weight * difference
        self.deviation += weight * (abs(difference) - self.deviation)
        self.seen += 1
        return surprise

    def hand_over(self) -> float | None:
        """Give the recorder the losses of the light steps; returns the last one, None where there were none."""
        if not self.losses:
            return None
        steps, losses = np.array(self.steps), np.array(self.losses)
        self.steps, self.losses = array("q"), array("d")
        self.signal.extend(steps, losses[:, None])
        return float(losses[-1])


class BackwardTap(Tap):
    """Wraps `torch.autograd.backward`, which `Tensor.backward` calls too."""

    name = "backward"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.sites: dict[CallKey | None, BackwardSite] = {}
        self._inside = False

    @property
    def inside(self) -> bool:
        """Whether a backward call is going on."""
        return self._inside

    def install(self) -> None:
        """Wrap backward."""
        self.patches.wrap(torch.autograd, "backward", self._wrap)

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        session, light, is_compiling = self.session, self.session.light, torch.compiler.is_compiling

        def backward(*args: Any, **kwargs: Any) -> Any:
            if light.fast and args and not self._inside and self._at_once(args[0]):
                self._inside = True
                try:
                    return original(*args, **kwargs)
                finally:
                    self._inside = False
            if is_compiling() or not self.on or self._inside or not (session.active or session.awake()):
                return original(*args, **kwargs)
            self._inside = True
            try:
                try:
                    self._before(args[0] if args else kwargs["tensors"])
                except Exception as error:
                    self.fail(error)
                result = original(*args, **kwargs)
                if session.deep or session.step == 0 or session.by_hand is not None:
                    self._after()
                return result
            finally:
                self._inside = False

        return backward

    def _at_once(self, loss: Any) -> bool:
        """The fast path of a light step: the raw loss, and no more. False where the ordinary path is needed."""
        try:
            frame = _getframe(2)
            if frame.f_code is _TENSOR_BACKWARD and frame.f_back is not None:
                frame = frame.f_back
            site = self.sites.get((id(frame.f_code), frame.f_lasti))
            if site is None or type(loss) is not Tensor or not loss.is_cpu or loss.numel() != 1:
                return False
            value: float = loss.item()
            if value - value != 0.0:
                return False
            session = self.session
            session.light.backward_calls += 1
            site.steps.append(session.coming)
            site.losses.append(value)
            if site.surprising(value):
                self._surprised()
        except Exception as error:
            self.fail(error)
        return True

    def hand_over(self) -> None:
        """A round of light steps ends: the recorder gets their losses."""
        for site in self.sites.values():
            last = site.hand_over()
            if last is not None:
                self.session.latest.loss = last

    def _after(self) -> None:
        try:
            self.session.backward_over()
        except Exception as error:
            self.fail(error)

    def _before(self, tensors: Any) -> None:
        session = self.session
        loss = tensors if isinstance(tensors, Tensor) else tensors[0]
        session.handed.backward_begins()
        if session.preflight is not None:
            session.preflight.backward_begins(loss)
        if session.blackbox.capture is not None:
            session.blackbox.backward_begins(loss)
        self.take(loss)

    def take(self, loss: Tensor, handed: bool = False) -> None:
        """Record a loss that is about to be differentiated; `handed`: its gradients are not left in `.grad`."""
        session = self.session
        if session.light.on and self._lightly(loss):
            return
        started = now()
        if handed:
            session.optimizers.count_backward()
        else:
            session.optimizers.backward_begins()
        session.loaders.backward_begins()
        session.losses.backward_begins()
        if not isinstance(loss, Tensor) or not numbers.readable(loss):  # an edge of the graph, a tensor without data
            return
        key = session.sites.key(2)
        site = self.sites.get(key) or self._record(key, loss)
        raw = session.scaler.raw(loss) if session.scaler.scaled is not None else None
        self._read(site, loss if raw is None else raw)
        deep = session.graph.before_backward(site.id, loss)
        session.budget.charge(now() - started - deep)

    def _lightly(self, loss: Tensor) -> bool:
        """On a light step: the raw loss, and no more. False at a place that is new."""
        session = self.session
        site = self.sites.get(session.sites.key(3))
        if site is None:
            session.look_closer()
            return False
        site.hand_over()  # in the order of the steps
        session.optimizers.count_backward()
        session.loaders.backward_begins()
        session.losses.backward_begins()
        raw = session.scaler.raw(loss) if session.scaler.scaled is not None else None
        self._read(site, loss if raw is None else raw)
        session.light.resume()
        return True

    def _record(self, key: CallKey | None, loss: Tensor) -> BackwardSite:
        session = self.session
        id = session.take_loss_id()
        function = session.losses.function_of(loss)
        session.recorder.entity(Loss(id=id, source="backward", function=function, site=session.sites.site(3)))
        site = self.sites[key] = BackwardSite(id, session.recorder.signal("train/loss", ("loss", id), ("loss",)))
        return site

    def _read(self, site: BackwardSite, loss: Tensor) -> None:
        session, step = self.session, self.session.coming
        if loss.is_cpu:
            value = loss.item() if loss.numel() == 1 else numbers.plain(loss).mean().item()
            self._deliver(site, step, value, loss)
        else:
            reading = numbers.plain(loss.detach()).mean().reshape(1)
            session.readback.read(reading, lambda values: self._deliver(site, step, values[0], None))

    def _deliver(self, site: BackwardSite, step: int, value: float, loss: Tensor | None) -> None:
        session = self.session
        site.signal.append(step, (value,))
        session.latest.loss = value
        if value - value != 0.0:  # NaN or infinite
            if not session.failures.exhausted:
                session.budget.alarm(session.step)
                session.look_closer()
            session.failures.loss(site.id, step, value, loss)
        elif site.surprising(value):
            self._surprised()

    def _surprised(self) -> None:
        session = self.session
        session.blackbox.arm()
        session.budget.alarm(session.step)
        session.look_closer()
