"""Tap on optimizers: construction, steps, clearing of gradients; gradient norms, weights and their updates."""

from __future__ import annotations

import math
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from vivavoce.attach import numbers
from vivavoce.attach.budget import now
from vivavoce.attach.light import finite_at
from vivavoce.attach.lineage import Lineages
from vivavoce.attach.sites import is_method_of, local_variables
from vivavoce.attach.tap import Tap
from vivavoce.record.entities import Optimizer as OptimizerEntity
from vivavoce.record.entities import Site

if TYPE_CHECKING:
    from vivavoce.attach.session import Session
    from vivavoce.record.recorder import SignalWriter

ALARM_GROWTH = 0.7  # nats: a total norm twice its running geometric mean raises the alarm
NORM_MEMORY = 0.03  # weight of the newest log-norm in that mean
NO_GRADIENT = -1.0  # stands for a gradient that is None
MOST_MADE = 32  # optimizers whose parameters are noted when they are made
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


class OptimizerTap(Tap):
    """Follows every `torch.optim.Optimizer`, however it is wrapped."""

    name = "optimizers"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.states: dict[int, OptimizerState] = {}
        self._pre_handle = self._post_handle = RemovableHandle(OrderedDict())
        self._light = session.light
        self._lineages = Lineages()
        self._made_with: dict[str, list[int]] = {}  # parameters by the optimizer's id, as it was made
        self._stepping: list[int] = []  # ids of optimizers inside step(): one that steps another counts once

    def install(self) -> None:
        """Wrap construction and `zero_grad`; hook every step."""
        self.patches.wrap(Optimizer, "__init__", self._wrap_init)
        self.patches.wrap(Optimizer, "zero_grad", self._wrap_zero_grad)
        self.patches.wrap(torch.nn.Module, "zero_grad", self._wrap_zero_grad)
        self._pre_handle = register_optimizer_step_pre_hook(self._before_step)
        self._post_handle = register_optimizer_step_post_hook(self._after_step)

    def uninstall(self) -> None:
        """Remove wrappers and hooks."""
        super().uninstall()
        self._pre_handle.remove()
        self._post_handle.remove()
        for state in self.states.values():  # an optimizer that lives on shall not keep this session
            if state.forgetting is not None:
                state.forgetting.detach()

    @property
    def depth(self) -> int:
        """How many optimizers are inside `step()` now: 2 where one steps another."""
        return len(self._stepping)

    # construction -----------------------------------------------------------------------------------------------

    def _wrap_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            if self.on and self.session.active:
                try:
                    self._made(optimizer)
                except Exception as error:
                    self.fail(error)

        return init

    def _made(self, optimizer: Optimizer) -> None:
        started = now()
        frame = self.session.sites.user_frame(2)
        while frame is not None and is_method_of(frame, optimizer):
            frame = frame.f_back
        site = self.session.site_of(frame)
        if site is not None:
            self.session.made[id(optimizer)] = site
        state = self.state_of(optimizer)
        if not state.steps:
            parameters = _parameters_of(optimizer)
            self.session.registry.discover(parameters, frame, self.session.step)
            self._note_made(state.id, parameters)
        self.session.budget.charge_setup(now() - started)

    def _note_made(self, id: int, parameters: list[Tensor]) -> None:
        """What an optimizer holds is worth a fact even if it never steps: the first ones of a script only."""
        if len(self._made_with) < MOST_MADE:
            known = (self.session.registry.parameter(tensor) for tensor in parameters)
            self._made_with[str(id)] = [entity.id for entity in known if entity is not None]
            self.session.recorder.meta(optimizers_made=dict(self._made_with))

    def state_of(self, optimizer: Any) -> OptimizerState:
        """The state of an optimizer, made and recorded when it is first seen."""
        state = self.states.get(id(optimizer))
        if state is None or state.optimizer() is not optimizer:
            state = self._new_state(optimizer)
            state.followed = self.session.follows(optimizer)
            state.deep = self.session.deep
            key = id(optimizer)
            state.forgetting = weakref.finalize(optimizer, self._forget, key, state)
            state.forgetting.atexit = False
            self.states[key] = state
        return state

    def _new_state(self, optimizer: Any) -> OptimizerState:
        """A state of its own; or the next one of its lineage, which counts as having stepped already."""
        site, parameters = self.session.made.get(id(optimizer)), _parameters_of(optimizer)
        lineage = self._lineages.heir(site, type(optimizer).__name__, parameters)
        if lineage is None:
            return OptimizerState(self.session.take_optimizer_id(), optimizer, site)
        self.session.registry.pass_on(lineage.ids, parameters)
        state = OptimizerState(lineage.id, optimizer, site)
        state.steps = 1
        state.parameters, state.ids, state.held = parameters, lineage.ids, lineage.held
        state.step_site, state.zero_grad_site = lineage.step_site, lineage.zero_grad_site
        state.gradient_norm, state.step_signal, state.rate_signal = lineage.signals
        return state

    def _forget(self, key: int, state: OptimizerState) -> None:
        if self.states.get(key) is state:
            del self.states[key]
        if self._light.state is state:
            self.session.look_closer()

    # stepping ---------------------------------------------------------------------------------------------------

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        light, session = self._light, self.session
        try:
            if light.key == id(optimizer) and not self._stepping and finite_at(light.sentinel, light.kind):
                light.left -= 1
                light.backward_calls = 0
                session.step = session.coming
                session.coming += 1
                if light.left == 0:
                    light.last = True
                    self.hear_ends()
                return
            if not self.on or torch.compiler.is_compiling() or not session.active or self._done_before(id(optimizer)):
                return
        except Exception as error:
            self.fail(error)
            return
        started = now()
        try:
            state = self.state_of(optimizer)
            if not state.followed:
                session.not_by_hand()
                return
            session.handed.optimizer_steps(optimizer)
            session.begin_step(state)
            if state.steps == 0 or _changed(state, optimizer):
                started = self._refresh(state, optimizer, _has_closure(args, kwargs), started)
            if not state.closure:
                self.read_gradients(state, session.step)
            if state.deep:
                self._keep_weights(state)
        except Exception as error:
            self.fail(error)
        session.budget.charge(now() - started)

    def _done_before(self, key: int) -> bool:
        """Note that an optimizer is inside `step()`; True where no more is to be done: it was counted, or another counts."""
        light = self._light
        if light.key is not None:
            self._more_than_counting(key)
        if self._stepping:
            self._stepping = _still_stepping(self._stepping)
        self._stepping.append(key)
        if len(self._stepping) > 1:
            light.barred = True  # its steps are not to be counted by their beginnings
            return True
        return light.on and self._step_lightly(key)

    def ignore_ends(self) -> None:
        """Do nothing at the end of a step while steps are only counted."""
        self._hook_ends(_nothing)

    def hear_ends(self) -> None:
        """Hear of the end of each step again, of the one that goes on too."""
        self._hook_ends(self._after_step)

    def _hook_ends(self, hook: Callable[..., None]) -> None:
        """Exchange the hook in its place: PyTorch may be going through the hooks, which must not become more or fewer."""
        hooks, id = self._post_handle.hooks_dict_ref(), self._post_handle.id
        if hooks is not None and id in hooks:
            hooks[id] = hook

    def _more_than_counting(self, key: int) -> None:
        """A gradient is not finite; or another optimizer steps, perhaps inside a step of the known one."""
        light = self._light
        if light.key is not None and light.key != key:
            self._stepping.append(light.key)
            light.barred = True
        self.session.look_closer()

    def _step_lightly(self, key: int) -> bool:
        """Count a step of an optimizer that is known, and no more."""
        state = self.states.get(key)
        if state is None or state.steps == 0 or not state.followed:
            self.session.look_closer()
            return False
        if not self.session.failures.exhausted and not finite_at(state.sentinel):
            self.session.look_closer()
            return False
        self.session.begin_step(state)
        return True

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        light, session = self._light, self.session
        try:
            if light.key is not None or light.on:
                self._after_light_step(id(optimizer))
                return
            if not self.on or torch.compiler.is_compiling() or not session.active or self._inside_another():
                return
            started = now()
            state = self.state_of(optimizer)
            if not state.followed:
                return
            if state.closure:
                self.read_gradients(state, session.step)
            if state.deep:
                self._compare_weights(state)
            state.steps += 1
            self._read_rates(state, optimizer)
            self.close_step(state)
        except Exception as error:
            self.fail(error)
            return
        session.budget.charge(now() - started)
        session.end_step(state)

    def _after_light_step(self, key: int) -> None:
        """The end of a step of a light round. Raises `StopTraining`, like `Session.end_step`."""
        light, session = self._light, self.session
        if light.key is not None:
            if light.last:
                session.end_light_round()
            return
        if not self.on or torch.compiler.is_compiling() or not session.active or self._inside_another():
            return
        state = self.states[key]
        state.steps += 1
        state.backward_calls = 0
        session.end_light_step()

    def _inside_another(self) -> bool:
        """An optimizer's `step()` is over: whether it was called from inside another's."""
        if self._stepping:
            self._stepping.pop()
        return bool(self._stepping)

    def _refresh(self, state: OptimizerState, optimizer: Any, closure: bool, started: float) -> float:
        """Learn an optimizer's parameters, at its first step and when groups were added. Returns a fresh start time."""
        session = self.session
        state.closure = closure
        self.adopt(state, _parameters_of(optimizer))
        state.held = _count_parameters(optimizer)
        if state.step_site is None:
            frame = session.sites.user_frame(2)
            while frame is not None and is_method_of(frame, optimizer):
                frame = frame.f_back
            state.step_site = session.site_of(frame)
        self._record(state, optimizer)
        self._lineages.note(state)
        session.budget.charge_setup(now() - started)
        return now()

    def adopt(self, state: OptimizerState, parameters: list[Tensor]) -> None:
        """Give a state its parameters, with names and ids."""
        session = self.session
        session.registry.discover(parameters, session.sites.user_frame(2), session.step)
        state.parameters = parameters
        session.note_device(parameters)
        state.ids = []
        state.simple = False
        for index, tensor in enumerate(parameters):
            entity = session.registry.ensure(tensor, f"optimizer {state.id} parameter {index}", session.step)
            if state.id not in entity.optimizers:
                optimizers = (*entity.optimizers, state.id)
                session.registry.update(replace(entity, optimizers=optimizers, shape=tuple(tensor.shape)))
            state.ids.append(entity.id)
        owner = ("optimizer", state.id)
        recorder = session.recorder
        state.gradient_norm = recorder.signal("gradient_norm", owner, tuple(state.ids))
        state.step_signal = recorder.signal("step", owner, ("backward_calls", "stale", "seconds"))

    def _record(self, state: OptimizerState, optimizer: Any) -> None:
        index = {id(tensor): entity_id for tensor, entity_id in zip(state.parameters, state.ids, strict=True)}
        groups = tuple(_group_json(group, index) for group in optimizer.param_groups)
        state.rate_signal = self.session.recorder.signal("learning_rate", ("optimizer", state.id), range(len(groups)))
        self.record_entity(state, groups)

    def record_entity(self, state: OptimizerState, groups: tuple[dict[str, Any], ...]) -> None:
        """Record an optimizer."""
        self.session.recorder.entity(
            OptimizerEntity(
                id=state.id,
                class_name=state.class_name,
                groups=groups,
                site=state.site,
                step_site=state.step_site,
                zero_grad_site=state.zero_grad_site,
                closure=state.closure,
            )
        )

    # signals ----------------------------------------------------------------------------------------------------

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

    def _read_rates(self, state: OptimizerState, optimizer: Any) -> None:
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

    def _keep_weights(self, state: OptimizerState) -> None:
        started = now()
        state.before = [numbers.sample(parameter).clone() for parameter in state.parameters]
        self.session.insight.before_step(state)
        self._charge_deep(started)

    def _compare_weights(self, state: OptimizerState) -> None:
        started = now()
        before, state.before, state.deep = state.before, None, False
        if before is not None and len(before) == len(state.parameters) and before:
            self.record_change(state, before)
        self._charge_deep(started)

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

    def _charge_deep(self, started: float) -> None:
        spent = now() - started
        self.session.budget.charge_deep(spent)
        self.session.budget.charge(-spent)  # the caller's timer runs on

    # clearing of gradients ----------------------------------------------------------------------------------------

    def _wrap_zero_grad(self, original: Callable[..., Any]) -> Callable[..., Any]:
        light, session = self._light, self.session

        def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> Any:
            if not light.on and self.on and not torch.compiler.is_compiling() and session.active:
                try:
                    self._clearing(owner)
                except Exception as error:
                    self.fail(error)
            return original(owner, *args, **kwargs)

        return zero_grad

    def _clearing(self, owner: Any) -> None:
        state = self.states.get(id(owner))
        if state is not None and state.zero_grad_site is None:
            state.zero_grad_site = self.session.sites.site(2)
            optimizer = state.optimizer()
            if optimizer is not None and state.ids:
                self._record(state, optimizer)

    def close_step(self, state: OptimizerState) -> None:
        """Remember a gradient and its version, so that the next backward can tell whether it was cleared."""
        session = self.session
        if state.step_signal is not None:
            state.step_signal.append(
                session.step, (state.backward_calls, 1.0 if state.stale else 0.0, session.last_step_seconds)
            )
        self._mark_gradient(state)

    def mark_gradients(self) -> None:
        """Light steps are over: the gradients as they are now are those of before the next step."""
        for state in self.states.values():
            self._mark_gradient(state)

    def forget_gradients(self) -> None:
        """Light steps end in the middle of a step: nothing can be said on what its gradients were before."""
        for state in self.states.values():
            state.probe_gradient = None

    def _mark_gradient(self, state: OptimizerState) -> None:
        state.backward_calls = 0
        state.stale = False
        gradient = state.probe.grad if state.probe is not None else None
        if gradient is None and state.steps <= PROBE_STEPS:
            with_gradient = [p for p in state.parameters if p.grad is not None]
            state.probe = min(with_gradient, key=Tensor.numel, default=None)
            state.sentinel = next((p for p in with_gradient if p.is_cpu and numbers.simple(p.grad)), None)
            gradient = state.probe.grad if state.probe is not None else None
            state.simple = len(with_gradient) == len(state.parameters) and all(
                type(p) in (Tensor, Parameter) and numbers.simple(p.grad) for p in with_gradient
            )
        if gradient is None:
            state.probe_gradient = None
        else:
            state.probe_gradient = weakref.ref(gradient)
            state.probe_version = gradient._version

    def count_backward(self) -> None:
        """A backward call of a light step starts."""
        self._light.backward_calls += 1
        for state in self.states.values():
            state.backward_calls += 1

    def backward_begins(self) -> None:
        """A backward call starts: count it, and see whether gradients of before the last step are still there.

        Another network's backward may come in between (GANs), so a gradient counts as carried over only where it is
        still there when the last backward before the step begins.
        """
        for state in self.states.values():
            gradient = state.probe.grad if state.probe is not None else None
            if gradient is None:
                state.stale = False
            elif state.backward_calls == 0:
                same = state.probe_gradient is not None and gradient is state.probe_gradient()
                unchanged = same and gradient._version == state.probe_version
                state.stale = unchanged and numbers.holds_anything(gradient)
            elif state.stale:
                state.stale = numbers.holds_anything(gradient)
            state.backward_calls += 1


def _nothing(optimizer: Any, args: Any, kwargs: Any) -> None:
    """The hook at the end of a step that is only counted."""


def _has_closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return (args[1] if len(args) > 1 else kwargs.get("closure")) is not None


def _still_stepping(stepping: list[int]) -> list[int]:
    """Of the optimizers inside `step()`, those whose call is still on the stack: the others were left by an exception."""
    frame: FrameType | None = sys._getframe(3)
    alive: list[int] = []
    while frame is not None:
        if frame.f_code.co_name == "wrapper":  # PyTorch's, around every `step`
            alive.append(id(local_variables(frame).get("self")))
        frame = frame.f_back
    return [other for other in stepping if other in alive[1:]]  # the first is the call that is being looked at


def _parameters_of(optimizer: Any) -> list[Tensor]:
    """The optimizer's tensors that hold data: those on the meta device have none to look at."""
    tensors = [p for group in optimizer.param_groups for p in group["params"] if isinstance(p, Tensor)]
    return [p for p in tensors if not p.is_meta]


def _count_parameters(optimizer: Any) -> int:
    count = 0
    for group in optimizer.param_groups:
        count += len(group["params"])
    return count


def _changed(state: OptimizerState, optimizer: Any) -> bool:
    """Whether parameters were added since the optimizer was recorded."""
    return _count_parameters(optimizer) != state.held


def _group_json(group: dict[str, Any], index: dict[int, int]) -> dict[str, Any]:
    data: dict[str, Any] = {"parameters": [index[id(p)] for p in group["params"] if id(p) in index]}
    for key, value in group.items():
        name = "learning_rate" if key == "lr" else key
        if isinstance(value, Tensor):
            value = float(value) if value.numel() == 1 and value.device.type == "cpu" else None
        if isinstance(value, (int, float, bool, str)):
            data[name] = value
        elif isinstance(value, (tuple, list)) and all(isinstance(item, (int, float)) for item in value):
            data[name] = list(value)
    return data
