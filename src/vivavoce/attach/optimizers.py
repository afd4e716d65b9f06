"""Tap on optimizers: construction, steps, clearing of gradients; gradient norms, weights and their updates."""

from __future__ import annotations

import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from vivavoce.attach import groups, numbers
from vivavoce.attach.budget import now
from vivavoce.attach.light import finite_at
from vivavoce.attach.lineage import Lineages
from vivavoce.attach.optimizer_signals import OptimizerSignals
from vivavoce.attach.optimizer_state import OptimizerState
from vivavoce.attach.sites import is_method_of, local_variables
from vivavoce.attach.tap import Tap
from vivavoce.record.entities import Optimizer as OptimizerEntity

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

MOST_MADE = 32  # optimizers whose parameters are noted when they are made


class OptimizerTap(Tap):
    """Follows every `torch.optim.Optimizer`, however it is wrapped."""

    name = "optimizers"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.states: dict[int, OptimizerState] = {}
        self._pre_handle = self._post_handle = RemovableHandle(OrderedDict())
        self.signals = OptimizerSignals(session)
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
        for state in self.known():  # an optimizer that lives on shall not keep this session
            if state.forgetting is not None:
                state.forgetting.detach()

    @property
    def depth(self) -> int:
        """How many optimizers are inside `step()` now: 2 where one steps another."""
        return len(self._stepping)

    def known(self) -> list[OptimizerState]:
        """The states at this moment. A copy: while one goes through them, an optimizer may be collected as garbage."""
        return list(self.states.values())

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
            parameters = groups.parameters_of(optimizer)
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
        site, parameters = self.session.made.get(id(optimizer)), groups.parameters_of(optimizer)
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
            if state.steps == 0 or groups.count_parameters(optimizer) != state.held:
                started = self._refresh(state, optimizer, _has_closure(args, kwargs), started)
            if not state.closure:
                self.signals.read_gradients(state, session.step)
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
                self.signals.read_gradients(state, session.step)
            if state.deep:
                self._compare_weights(state)
            state.steps += 1
            self.signals.read_rates(state, optimizer)
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
        self.adopt(state, groups.parameters_of(optimizer))
        state.held = groups.count_parameters(optimizer)
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
        facts = tuple(groups.facts(group, index) for group in optimizer.param_groups)
        state.rate_signal = self.session.recorder.signal("learning_rate", ("optimizer", state.id), range(len(facts)))
        self.record_entity(state, facts)

    def record_entity(self, state: OptimizerState, facts: tuple[dict[str, Any], ...]) -> None:
        """Record an optimizer."""
        self.session.recorder.entity(
            OptimizerEntity(
                id=state.id,
                class_name=state.class_name,
                groups=facts,
                site=state.site,
                step_site=state.step_site,
                zero_grad_site=state.zero_grad_site,
                closure=state.closure,
            )
        )

    # weights around a sampled step -----------------------------------------------------------------------------------

    def _keep_weights(self, state: OptimizerState) -> None:
        started = now()
        state.before = [numbers.sample(parameter).clone() for parameter in state.parameters]
        self.session.insight.before_step(state)
        self._charge_deep(started)

    def _compare_weights(self, state: OptimizerState) -> None:
        started = now()
        before, state.before, state.deep = state.before, None, False
        if before is not None and len(before) == len(state.parameters) and before:
            self.signals.record_change(state, before)
        self._charge_deep(started)

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
        """Record what came before a step, and remember its gradients."""
        session = self.session
        if state.step_signal is not None:
            state.step_signal.append(
                session.step, (state.backward_calls, 1.0 if state.stale else 0.0, session.last_step_seconds)
            )
        state.mark_gradient()

    def mark_gradients(self) -> None:
        """Light steps are over: the gradients as they are now are those of before the next step."""
        for state in self.known():
            state.mark_gradient()

    def forget_gradients(self) -> None:
        """Light steps end in the middle of a step: nothing can be said on what its gradients were before."""
        for state in self.known():
            state.forget_gradient()

    def count_backward(self) -> None:
        """A backward call of a light step starts."""
        self._light.backward_calls += 1
        for state in self.known():
            state.backward_calls += 1

    def backward_begins(self) -> None:
        """A backward call starts."""
        for state in self.known():
            state.backward_begins()


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
