"""The guard of `viva run --guard`: the one part of Viva that changes a training, and only within what `--allow` says.

It judges every step from the gradients that the optimizer is about to use, after the taps have recorded them as they
are: what it does hides no cause from the detectors. With nothing wrong it only reads and copies.
"""

from __future__ import annotations

import contextlib
import math
import os
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from vivavoce.attach import guard_rules, numbers
from vivavoce.attach.budget import now
from vivavoce.attach.guard_loans import Loans, held_by, leaves_alone_without_gradient
from vivavoce.attach.guard_rules import Failures, Growth
from vivavoce.attach.guard_snapshot import Snapshot, finite
from vivavoce.attach.optimizer_state import OptimizerState
from vivavoce.attach.tap import Tap
from vivavoce.record.recorder import warn

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

SNAPSHOT_SHARE = 0.5  # of the budget that snapshots may use: they are spaced out accordingly
OLDER = 100  # steps by which the second snapshot is older than the first, at most (PaLM goes back about 100)
NAMED = 3  # parameters named in a reason


class Guard(Tap):
    """Clips a gradient that explodes, withholds one that is not finite, goes back to sound weights, lowers the rate."""

    name = "guard"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.allowed = frozenset(session.settings.allow)
        self.counts: dict[str, int] = {}
        self.given_up = False
        self.factors: dict[int, float] = {}  # optimizer's id -> factor on the script's learning rate
        self._growth: dict[int, Growth] = {}  # by optimizer's id, like `factors`
        self._failures = Failures()
        self._newest: Snapshot | None = None
        self._older: Snapshot | None = None
        self._next_snapshot = 0.0  # time from which the next one is paid for
        self._cost = math.inf  # seconds that one takes
        self._closed_well = True  # the last step with a closure left finite weights
        self._loans = Loans()
        self._target: Snapshot | None = None  # what to go back to when the step is over
        self._skipping = False
        self._handles: list[Any] = []
        self._scalers: weakref.WeakSet[Any] = weakref.WeakSet()

    def install(self) -> None:
        """Hook every step, behind the taps; remember every GradScaler."""
        self.session.recorder.meta(guard=sorted(self.allowed))
        self._handles = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        self.patches.wrap(torch.amp.grad_scaler.GradScaler, "scale", self._wrap_scale)

    def uninstall(self) -> None:
        """Remove the hooks; whatever a step had been lent goes back."""
        super().uninstall()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._loans.give_back()
        self._go_back()
        if self.session.step > 0 and not self._growth and not self.given_up:
            self._give_up("no optimizer has stepped; where weights are changed by hand there is no step to act on")

    def fail(self, error: Exception) -> None:
        """An internal error: the guard is off, and the step has what is its own."""
        self._target = None
        self._skipping = False
        with contextlib.suppress(Exception):
            self._loans.give_back()
        super().fail(error)

    def _wrap_scale(self, original: Any) -> Any:
        def scale(scaler: Any, outputs: Any) -> Any:
            if self.on:
                self._scalers.add(scaler)
            return original(scaler, outputs)

        return scale

    # a step -----------------------------------------------------------------------------------------------------------

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        started = now()
        try:
            state = self._state(optimizer, depth=1)
            if state is None:
                return
            self._loans.give_back()  # of a step that ended in an exception
            if state.closure:
                self._keep_snapshot(self._closed_well)
            elif getattr(optimizer, "found_inf", None) is None:  # else GradScaler withholds it inside the step
                self._judge(state, optimizer)
            if state.id in self.factors and not self.given_up:
                self._loans.lower_rates(optimizer, self.factors[state.id])
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_background(now() - started)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        started = now()
        try:
            self._loans.give_back()
            self._go_back()
            state = self._state(optimizer, depth=0)
            if state is not None and state.closure:
                self._judge_closed(state, optimizer)
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_background(now() - started)

    def _state(self, optimizer: Any, depth: int) -> OptimizerState | None:
        """Of an optimizer that is guarded, in its outermost step; None where there is nothing to do."""
        session = self.session
        if not self.on or self.given_up or torch.compiler.is_compiling() or not session.active:
            return None
        state = session.optimizers.states.get(id(optimizer))
        if session.optimizers.depth != depth or state is None or not state.followed:
            return None
        if state.id not in self._growth:
            self._growth[state.id] = Growth()
            self._refuse(optimizer)
        return None if self.given_up else state

    def _refuse(self, optimizer: Any) -> None:
        """An optimizer's first step: give up where it cannot be guarded."""
        size = world_size()
        if not self.session.optimizers.on:
            self._give_up("the tap on optimizers is off")
        elif size > 1:
            self._give_up(f"{size} processes train together, and acts of one would part it from the others")
        elif any(p.device.type == "cpu" and p.is_shared() for p in held_by(optimizer)):  # type: ignore[no-untyped-call]
            self._give_up("the weights are shared with other processes")

    def _judge(self, state: OptimizerState, optimizer: Any) -> None:
        present = [p for p in state.parameters if p.grad is not None]
        if not present:
            return
        gradients = [p.grad for p in present if p.grad is not None]
        norms = numbers.norms(gradients if state.simple else [numbers.plain(g) for g in gradients]).tolist()
        total = math.hypot(*norms)
        if not math.isfinite(total):
            bad = [p for p, norm in zip(present, norms, strict=True) if not math.isfinite(norm)]
            self._broken(state, optimizer, bad)
            return
        growth = self._growth[state.id]
        mean, deviations = growth.mean, growth.deviations(total)
        target = growth.ceiling(total)
        self._keep_snapshot(target is None)
        if target is not None and "clip" in self.allowed:
            self._clip(state, gradients, total, target, f"{deviations:.1f} deviations above its mean {mean:.3g}")
            if growth.lasting:
                growth.forget_marks()
                self._lower(state, "half of the last steps had to be clipped")

    # acts -------------------------------------------------------------------------------------------------------------

    def _clip(self, state: OptimizerState, gradients: list[Tensor], norm: float, target: float, where: str) -> None:
        self._record_raw(state)
        with torch.no_grad():
            for gradient in {id(g): g for g in gradients}.values():
                gradient.mul_(target / norm)
        why = f"the gradient's norm {norm:.3g} stood {where} and far above all before; scaled down to {target:.3g}"
        self._act("clip", why, state, norm=norm, to=target)
        if self.counts["clip"] >= guard_rules.MOST_CLIPS:
            self._give_up(f"it has clipped {guard_rules.MOST_CLIPS:,} times: clipping belongs into the script")

    def _broken(self, state: OptimizerState, optimizer: Any, bad: list[Tensor]) -> None:
        """A gradient is NaN or infinite: leave this step out, and go back to sound weights."""
        self._record_raw(state)
        if not self.allowed & {"rewind", "skip-batch"}:
            return
        relapse = self._failures.add(self.session.step)
        grown = 1.0 if self._newest is None else self._newest.growth()
        blown = not grown <= guard_rules.BLOWN  # NaN counts as blown up
        if self._failures.hopeless(blown):
            self._give_up(self._failures.hopeless(blown))
            return
        why = f"the gradient of {self._names(bad)} is not finite"
        if "rewind" in self.allowed and self._newest is not None:
            self._rewind(state, why, relapse)
        elif not all(map(finite, held_by(optimizer))):
            self._give_up("weights are not finite, and it has no others to go back to")
            return
        elif "skip-batch" in self.allowed:
            self._act("skip-batch", f"{why}; the step is left out", state)
            self._skipping = True
        else:
            return
        self._withhold(optimizer)
        growth = self._growth[state.id]
        if growth.climbed:
            growth.forget_marks()
            self._lower(state, "the gradient had grown far above all before when it broke")
        elif blown:
            size = f"{grown:.3g} × as large as" if math.isfinite(grown) else "no longer finite, unlike"
            self._lower(state, f"the weights had become {size} in the last snapshot")

    def _rewind(self, state: OptimizerState, why: str, relapse: bool) -> None:
        if relapse and self._older is not None:
            self._newest, self._older = self._older, None
        target = self._target = self._newest
        assert target is not None
        if "skip-batch" in self.allowed:
            self._act("skip-batch", f"{why}; the step is left out", state)
        back = f"{why}; weights, buffers and optimizers are those from before step {target.step:,} again"
        self._act("rewind", back, state, to_step=target.step)

    def _lower(self, state: OptimizerState, why: str) -> None:
        factor = self.factors.get(state.id, 1.0) * guard_rules.LOWERED
        if "lower-learning-rate" not in self.allowed or factor < guard_rules.LOWEST:
            return
        self.factors[state.id] = factor
        self._failures.count_anew()
        text = f"{why}; from here on the learning rate is {factor:g} × what the script and its schedulers say"
        self._act("lower-learning-rate", text, state, factor=factor)

    def _judge_closed(self, state: OptimizerState, optimizer: Any) -> None:
        """A step with a closure is over: it can only be judged as a whole."""
        tensors = [numbers.plain(t.detach()) for p in held_by(optimizer) for t in (p, p.grad) if t is not None]
        self._closed_well = not tensors or math.isfinite(math.hypot(*numbers.norms(tensors).tolist()))
        if self._closed_well or "rewind" not in self.allowed or self._newest is None:
            return
        relapse = self._failures.add(self.session.step)
        if self._failures.hopeless(blown=True):
            self._give_up(self._failures.hopeless(blown=True))
            return
        self._rewind(state, "the step left weights or gradients that are not finite", relapse)
        self._go_back()
        self._closed_well = True

    def _act(self, act: str, why: str, state: OptimizerState, **data: Any) -> None:
        """Record an act with its reason, and say the first of each kind."""
        session = self.session
        first = act not in self.counts
        self.counts[act] = self.counts.get(act, 0) + 1
        session.recorder.event(session.step, "guard", act=act, optimizer=state.id, why=why, **data)
        if first:
            self._say(f"guard, step {session.step:,}: {act}: {why}")

    def _give_up(self, why: str) -> None:
        """No further act in this run, and no hook on any step; the training goes on as it would without the guard."""
        self.given_up = True
        self._loans.give_back()
        self._newest = self._older = None
        self.session.recorder.event(self.session.step, "guard", act="gave-up", why=why)
        self._say(f"the guard {'acts no more' if self.counts else 'does not act'}: {why}")

    def _say(self, message: str) -> None:
        if self.session.settings.speaks:
            warn(message)

    # means ------------------------------------------------------------------------------------------------------------

    def _record_raw(self, state: OptimizerState) -> None:
        """Something is wrong: have the taps see the gradients as they are, on a light step too."""
        session = self.session
        session.budget.alarm(session.step)
        if session.light.on:
            session.look_closer()
            session.optimizers.signals.read_gradients(state, session.step)

    def _keep_snapshot(self, sound: bool) -> None:
        """Between two rounds of the optimizers, as often as the budget pays for it: copy the weights where they are sound."""
        session = self.session
        if not sound or not session.at_start_of_round or now() < self._next_snapshot:
            return
        started = now()
        optimizers = [o for s in session.optimizers.known() if (o := s.optimizer()) is not None]
        roots = [root for s in session.registry.models.values() if (root := s.root()) is not None]
        taken = Snapshot(session.step, optimizers, roots, list(self._scalers))
        if self._newest is not None and (self._older is None or self._newest.step - self._older.step >= OLDER):
            self._older = self._newest
        self._newest = taken
        self._cost = min(self._cost, now() - started)  # the least: a longer one was interrupted
        self._next_snapshot = now() + self._cost / (SNAPSHOT_SHARE * session.budget.fraction)

    def _withhold(self, optimizer: Any) -> None:
        """Have the coming step change nothing: without gradients, and undone where that may not be enough."""
        if self._target is None and not leaves_alone_without_gradient(optimizer):
            self._target = Snapshot(self.session.step, [optimizer], (), ())
        self._loans.withhold(optimizer)

    def _go_back(self) -> None:
        target, self._target = self._target, None
        skipping, self._skipping = self._skipping, False
        if target is not None:
            target.restore()
        if skipping and self._newest is not None:
            self._newest.restore_buffers()

    def _names(self, tensors: list[Tensor]) -> str:
        known = [entity.name for t in tensors if (entity := self.session.registry.parameter(t)) is not None]
        more = f" and {len(tensors) - NAMED} more" if len(tensors) > NAMED else ""
        return ", ".join(known[:NAMED]) + more if known else "a parameter"


def world_size() -> int:
    """Processes that train together: of torch.distributed, or as a launcher says."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) if size.isdecimal() else 1
