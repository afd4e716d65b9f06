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
from vivavoce.attach.guard_rules import Failures, Growth
from vivavoce.attach.guard_snapshot import Snapshot, finite
from vivavoce.attach.optimizers import OptimizerState
from vivavoce.attach.tap import Tap
from vivavoce.record.recorder import warn

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

SNAPSHOT_SHARE = 0.5  # of the budget that snapshots may use: they are spaced out accordingly
OLDER = 100  # steps that the second snapshot is older than the first, at least (PaLM goes back about 100)
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
        self._withheld: list[tuple[Tensor, Tensor]] = []  # parameters and the gradients taken from them for a step
        self._rates: list[tuple[dict[str, Any], Any]] = []  # groups and their own learning rates, during a step
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
        self._give_back()
        self._go_back()

    def fail(self, error: Exception) -> None:
        """An internal error: the guard is off, and the step has what is its own."""
        self._target = None
        self._skipping = False
        with contextlib.suppress(Exception):
            self._give_back()
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
            self._give_back()  # of a step that ended in an exception
            if state.closure:
                self._keep_snapshot(self._closed_well)
            elif getattr(optimizer, "found_inf", None) is None:  # else GradScaler withholds it inside the step
                self._judge(state, optimizer)
            self._lend_rates(state, optimizer)
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_background(now() - started)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        started = now()
        try:
            self._give_back()
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
        elif any(p.device.type == "cpu" and p.is_shared() for p in _held_by(optimizer)):  # type: ignore[no-untyped-call]
            self._give_up("the weights are shared with other processes")

    def _judge(self, state: OptimizerState, optimizer: Any) -> None:
        present = [p for p in _held_by(optimizer) if p.grad is not None]
        if not present:
            return
        norms = numbers.norms([numbers.plain(p.grad) for p in present if p.grad is not None]).tolist()
        total = math.hypot(*norms)
        if not math.isfinite(total):
            bad = [p for p, norm in zip(present, norms, strict=True) if not math.isfinite(norm)]
            self._broken(state, optimizer, bad)
            return
        growth = self._growth[state.id]
        where = f"{growth.deviations(total):.1f} deviations above its mean {growth.mean:.3g}"
        target = growth.ceiling(total)
        self._keep_snapshot(target is None)
        if target is not None and "clip" in self.allowed:
            self._clip(state, present, total, target, where)
            if growth.lasting:
                growth.forget_marks()
                self._lower(state, "half of the last steps had to be clipped")

    # acts -------------------------------------------------------------------------------------------------------------

    def _clip(self, state: OptimizerState, present: list[Tensor], norm: float, target: float, where: str) -> None:
        self._record_raw(state)
        with torch.no_grad():
            for gradient in {id(p.grad): p.grad for p in present if p.grad is not None}.values():
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
        elif not all(map(finite, _held_by(optimizer))):
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
        tensors = [t for p in _held_by(optimizer) for t in (p, p.grad) if t is not None]
        self._closed_well = all(map(finite, tensors))
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
        self._give_back()
        self._newest = self._older = None
        self.session.recorder.event(self.session.step, "guard", act="gave-up", why=why)
        self._say(f"the guard acts no more: {why}")

    def _say(self, message: str) -> None:
        if self.session.settings.speaks:
            warn(message)

    # means ------------------------------------------------------------------------------------------------------------

    def _record_raw(self, state: OptimizerState) -> None:
        """Something is wrong: have the taps see the gradients as they are, on a light step too."""
        session = self.session
        session.budget.alarm(session.step)
        if session.light:
            session.look_closer()
            session.optimizers.read_gradients(state, session.step)

    def _keep_snapshot(self, sound: bool) -> None:
        """Between two rounds of the optimizers, as often as the budget pays for it: copy the weights where they are sound."""
        session = self.session
        if not sound or not session.at_start_of_round or now() < self._next_snapshot:
            return
        started = now()
        optimizers = [o for s in session.optimizers.states.values() if (o := s.optimizer()) is not None]
        roots = [root for s in session.registry.models.values() if (root := s.root()) is not None]
        taken = Snapshot(session.step, optimizers, roots, list(self._scalers))
        if self._newest is not None and (self._older is None or self._newest.step - self._older.step >= OLDER):
            self._older = self._newest
        self._newest = taken
        self._cost = min(self._cost, now() - started)  # the least: a longer one was interrupted
        self._next_snapshot = now() + self._cost / (SNAPSHOT_SHARE * session.budget.fraction)

    def _withhold(self, optimizer: Any) -> None:
        """Take the gradients away for the coming step, so that it changes nothing.

        PyTorch's own optimizers leave a parameter without a gradient alone. Of others that is not known: they step with
        zeros, and what that changes is undone.
        """
        known = type(optimizer).__module__.startswith("torch.optim")
        if not known and self._target is None:
            self._target = Snapshot(self.session.step, [optimizer], (), ())
        for parameter in _held_by(optimizer):
            gradient = parameter.grad
            if gradient is not None and known:
                self._withheld.append((parameter, gradient))
                parameter.grad = None
            elif gradient is not None:
                gradient.detach().zero_()

    def _lend_rates(self, state: OptimizerState, optimizer: Any) -> None:
        """Lower the learning rate for one step; the script and its schedulers always see their own."""
        factor = self.factors.get(state.id)
        if factor is None or self.given_up:
            return
        for group in optimizer.param_groups:
            rate = group.get("lr")
            if isinstance(rate, Tensor):
                self._rates.append((group, rate.clone()))
                rate.mul_(factor)
            elif rate is not None:
                self._rates.append((group, rate))
                group["lr"] = rate * factor

    def _give_back(self) -> None:
        """The gradients withheld, as zeros, and the learning rates."""
        withheld, self._withheld = self._withheld, []
        for parameter, gradient in withheld:
            if parameter.grad is None:
                parameter.grad = gradient.detach().zero_()
        rates, self._rates = self._rates, []
        for group, rate in rates:
            if isinstance(rate, Tensor):
                group["lr"].copy_(rate)
            else:
                group["lr"] = rate

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


def _held_by(optimizer: Any) -> list[Tensor]:
    """The parameters of an optimizer, each once; those without data left out."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    return list({id(p): p for p in held if isinstance(p, Tensor) and not p.is_meta}.values())
