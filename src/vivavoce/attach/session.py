"""A session watches one process: it owns the taps, the recorder and the clock of steps, and ends in an outcome."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from vivavoce._version import __version__
from vivavoce.attach.budget import Budget
from vivavoce.attach.examination import LiveExamination
from vivavoce.attach.light import Light
from vivavoce.attach.sites import Sites, is_library, site_of
from vivavoce.examine.finding import Finding
from vivavoce.examine.verdict import Verdict, examine
from vivavoce.record.entities import Site
from vivavoce.record.errors import StoreError
from vivavoce.record.folder import create_run, list_runs
from vivavoce.record.recorder import Recorder, warn
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.settings import Settings

if TYPE_CHECKING:
    from vivavoce.attach.byhand import ByHand, Patience
    from vivavoce.attach.optimizer_state import OptimizerState
    from vivavoce.attach.tap import Tap

LONGEST_SAMPLE = 8  # steps after which a deep sample ends, even where an optimizer has not stepped again
BY_HAND = -1  # key of the state of updates made by hand: no object has this id
STOPPED = 3  # exit code of a run that --stop-on ended


@dataclass
class Latest:
    """The newest values, for the live line."""

    loss: float | None = None
    gradient_norm: float | None = None
    finding: Finding | None = None


@dataclass(frozen=True)
class Status:
    """What the live line shows."""

    step: int | None
    loss: float | None
    gradient_norm: float | None
    overhead: float | None
    worst: str | None
    severity: str | None
    guarded: int = 0  # acts of the guard


@dataclass(frozen=True)
class Outcome:
    """What a session ends in: the run, its verdict, the store (None where it could not be written)."""

    run: Run
    verdict: Verdict
    path: Path | None
    children: list[Outcome] = field(default_factory=list)


class StopTraining(SystemExit):
    """Ends the script because of `--stop-on` or `--preflight`."""


class Session:
    """Watches the training of this process from `install` to `finish`.

    The steps' clock: `step` is the number of training steps begun, `coming` the step that a forward or backward pass
    now belongs to. Where several optimizers take turns, a step is one round of them: it ends when an optimizer that
    has already stepped in it steps again.
    """

    def __init__(self, settings: Settings | None = None, command: Sequence[str] = ()) -> None:
        self.settings = settings or Settings()
        self.command = list(command)
        self.sites = Sites()
        self.budget = Budget(1.0 if self.settings.preflight else self.settings.budget)
        self.latest = Latest()
        self.active = False
        self.compiling = False
        self.stopped: str | None = None
        self.faults: list[str] = []
        self.made: dict[int, Site] = {}  # id(optimizer) -> where it was made
        self._only: dict[int, Any] | None = None  # parameters watched, None for all
        self.pid = os.getpid()
        self._installed = False
        self._build()

    def _build(self) -> None:
        """Everything that belongs to one recorded run; made again in a forked child that trains."""
        from vivavoce.attach.backward import BackwardTap
        from vivavoce.attach.blackbox import BlackBox
        from vivavoce.attach.clipping import ClipTap
        from vivavoce.attach.compiling import CompileTap
        from vivavoce.attach.failures import Failures
        from vivavoce.attach.graph import GraphTap
        from vivavoce.attach.guard import Guard
        from vivavoce.attach.handed import HandedTap
        from vivavoce.attach.insight import InsightTap
        from vivavoce.attach.loaders import LoaderTap
        from vivavoce.attach.losses import LossTap
        from vivavoce.attach.modules import ModuleTap
        from vivavoce.attach.optimizers import OptimizerTap
        from vivavoce.attach.preflight import Preflight
        from vivavoce.attach.readback import Readback
        from vivavoce.attach.registry import Registry
        from vivavoce.attach.rules import RuleTap
        from vivavoce.attach.scaler import ScalerTap

        self.recorder = Recorder(self._make_store, self._facts(), on_fault=self.fault, held=True)
        self.recorder.add_job(LiveExamination(self))
        self.light = Light()  # on light steps only the raw loss is read
        self.registry = Registry(self.recorder)
        self.readback = Readback()
        self.failures = Failures(self)
        self.blackbox = BlackBox(self)
        self.optimizers = OptimizerTap(self)
        self.backward = BackwardTap(self)
        self.handed = HandedTap(self)
        self.losses = LossTap(self)
        self.loaders = LoaderTap(self)
        self.modules = ModuleTap(self)
        self.graph = GraphTap(self)
        self.insight = InsightTap(self)
        self.rules = RuleTap(self)
        self.clipping = ClipTap(self)
        self.scaler = ScalerTap(self)
        self.taps: tuple[Tap, ...] = (
            self.optimizers,
            self.backward,
            self.handed,
            self.losses,
            self.loaders,
            self.modules,
            self.graph,
            self.insight,
            self.rules,
            self.clipping,
            self.scaler,
            CompileTap(self),
        )
        self.preflight = Preflight(self) if self.settings.preflight else None
        if self.preflight is not None:
            self.taps = (*self.taps, self.preflight)
        self.guard = Guard(self) if self.settings.guard else None
        if self.guard is not None:
            self.taps = (*self.taps, self.guard)  # the last one: what it changes has been recorded as it was
        self.by_hand: ByHand | None = None
        self.step = 0
        self.coming = 1
        self.deep = True  # the very first step is sampled
        self._light_since = 0  # light steps since the last full one
        self._full_left = 1  # full steps still to come in this round
        self.last_step_seconds = 0.0
        self._deep_since = 0
        self._round: set[int] = set()  # optimizers that have stepped in this step
        self._last_round: set[int] = set()
        self._optimizers = self._losses = self._loaders = 0  # entity ids given out
        self._patience: Patience | None = None  # None until a backward call is over before the first optimizer step
        self._background_paid = 0.0
        self.stop_slug: str | None = None  # set from the recorder's thread: the finding to stop for

    # life -----------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Put every tap in place. PyTorch must be imported; nothing is recorded before training begins."""
        if self._installed:
            return
        self._installed = True
        self.active = True
        self.budget.restart_clock()
        for tap in self.taps:
            try:
                tap.install()
            except Exception as error:
                tap.fail(error)
        if self.deep:
            self.modules.arm()
        self.graph.ask_for_lines()
        _watch_forks(self)

    def follow(self, models: Sequence[Any], optimizers: Sequence[Any]) -> None:
        """Watch only these models and optimizers, made before or after the session began; everything where none is given."""
        if not models and not optimizers:
            return
        parameters = [p for model in models for p in model.parameters()]
        parameters += [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        self._only = {id(p): p for p in parameters}
        self.registry.discover(parameters, self.sites.user_frame(2), self.step)
        for optimizer in optimizers:
            self.optimizers.state_of(optimizer)

    def follows(self, optimizer: Any) -> bool:
        """Whether an optimizer holds a parameter that this session watches."""
        only = self._only
        return only is None or any(id(p) in only for group in optimizer.param_groups for p in group["params"])

    def uninstall(self) -> None:
        """Take every tap out again; what was recorded stays, and `install` goes on with it."""
        if not self._installed:
            return
        self._guarded(self.look_closer)
        self._installed = False
        self.active = False
        if self in _forking:
            _forking.remove(self)
        self.blackbox.close()
        for tap in self.taps:
            try:
                tap.uninstall()
            except Exception as error:
                self.fault(tap.name, error)

    def finish(self, exit_code: int | None = 0, error: BaseException | None = None) -> Outcome | None:
        """End the session: examine what was recorded and close the store. None where nothing was trained."""
        if self.preflight is not None:
            self.preflight.conclude(broken_off=error is not None and not isinstance(error, SystemExit))
        self.uninstall()
        if self.step == 0 and self._patience is None:
            self.recorder.close()
            return None
        self._guarded(lambda: self._settle_accounts(exit_code, error))
        run = Run(self.recorder.source())
        verdict = examine(run)
        self.recorder.findings([finding.to_json() for finding in verdict.findings], self.step)
        self.recorder.close()
        return Outcome(run, verdict, self.recorder.path, self._guarded(self.children) or [])

    def _guarded(self, closing: Callable[[], Any]) -> Any:
        """What a last piece of work returns; None where it failed, so that hooks still go and the verdict appears."""
        try:
            return closing()
        except Exception as fault:
            self.fault("end of the run", fault)
            return None

    def _settle_accounts(self, exit_code: int | None, error: BaseException | None) -> None:
        closings: list[Callable[[], Any]] = [self.readback.drain, self.losses.close_passes, self.modules.emit]
        closings += [self.readback.drain, self.graph.judge_reach]
        if error is not None and not isinstance(error, SystemExit):
            closings.append(lambda: self.recorder.event(self.step, "exception", **_describe(error)))
            closings.append(lambda: self.blackbox.write("exception"))
        closings.append(lambda: self.recorder.meta(**self.progress()))
        for closing in closings:
            self._guarded(closing)
        self.recorder.meta(finished=time.time(), exit_code=exit_code, steps=self.step)

    def progress(self) -> dict[str, Any]:
        """The facts about the run that change while it goes on."""
        return {
            "steps": self.step,
            "overhead": self.budget.overhead,
            "allowed": self.budget.allowed,
            "setup_seconds": round(self.budget.setup, 4),
            "training_seconds": round(self.budget.elapsed, 4),
        }

    def _facts(self) -> dict[str, Any]:
        import torch

        return {
            "viva": __version__,
            "command": self.command,
            "script": next((word for word in self.command if word.endswith(".py")), None),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": "cpu",
            "pid": os.getpid(),
            "rank": self.settings.rank,
            "parent": self.settings.parent,
            "started": time.time(),
            "budget": self.budget.fraction,
        }

    def note_device(self, parameters: Sequence[Any]) -> None:
        """Record where the parameters are."""
        devices = sorted({str(parameter.device) for parameter in parameters})
        if devices:
            self.recorder.meta(device=", ".join(devices))

    def _make_store(self) -> Path:
        path = create_run(self.settings.directory)
        self.recorder.meta(run=path.stem)
        return path

    def children(self) -> list[Outcome]:
        """Outcomes of the child processes that trained and recorded into the same folder."""
        outcomes = []
        try:
            for entry in list_runs(self.settings.directory):
                if entry.meta and entry.meta.get("parent") == os.getpid() and entry.started >= self._facts_started():
                    run = open_run(entry.path)
                    outcomes.append(Outcome(run, examine(run), entry.path))
        except (StoreError, OSError) as error:
            self.fault("child processes", error)
        return outcomes

    def _facts_started(self) -> float:
        return float(Run(self.recorder.source()).meta.get("started", 0.0))

    def fault(self, name: str, error: Exception) -> None:
        """An internal error: say so once for each part. The training goes on."""
        if name in self.faults:
            return
        self.faults.append(name)
        place = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
        where = f" ({os.path.basename(place[0].filename)}:{place[0].lineno})" if place else ""
        text = " ".join(str(error).split())[:200]
        warn(
            f"{name} switched off after an internal error, the training goes on: {type(error).__name__}: {text}{where}"
        )
        self.recorder.event(self.step, "tap-off", tap=name, error=f"{type(error).__name__}: {text}{where}")

    # forked children ---------------------------------------------------------------------------------------------------

    def enter_fork(self) -> None:
        """In a forked child: nothing is recorded unless the child trains."""
        self.active = False
        self.light.end()

    def awake(self) -> bool:
        """Whether this process records; a forked child that trains begins a run of its own."""
        if self.active or not self._installed or os.getpid() == self.pid:
            return self.active
        from torch.utils.data import get_worker_info

        if get_worker_info() is not None:
            return False
        self.pid, parent = os.getpid(), self.pid
        for tap in self.taps:
            tap.uninstall()
        self._installed = False
        self.settings = self.settings.in_child(parent)
        self._build()
        self.install()
        return self.active

    # ids ------------------------------------------------------------------------------------------------------------

    def take_optimizer_id(self) -> int:
        """A new entity id."""
        self._optimizers += 1
        return self._optimizers - 1

    def take_loss_id(self) -> int:
        """A new entity id."""
        self._losses += 1
        return self._losses - 1

    def take_loader_id(self) -> int:
        """A new entity id."""
        self._loaders += 1
        return self._loaders - 1

    @staticmethod
    def site_of(frame: FrameType | None) -> Site | None:
        """Place of a frame in the user's code; None for a library's."""
        while frame is not None and is_library(frame.f_code.co_filename):
            frame = frame.f_back
        return None if frame is None else site_of(frame)

    # the clock of steps -------------------------------------------------------------------------------------------------

    def begin_step(self, state: OptimizerState) -> None:
        """An optimizer is about to step."""
        if self.step == 0 or state.id in self._round:
            if self.step == 0:
                self.recorder.release()
            self.step += 1
            self._last_round, self._round = self._round, set()
        self._round.add(state.id)
        if self.by_hand is not None and state is not self.by_hand.state:
            self.by_hand = None
            self.optimizers.states.pop(BY_HAND, None)

    def end_step(self, state: OptimizerState) -> None:
        """An optimizer has stepped. Raises `StopTraining` where --stop-on or --preflight asks for it, and nothing else."""
        try:
            self._end_step(state)
        except Exception as error:
            self.active = False
            self.light.end()
            self.fault("session", error)
        if self.stop_slug is not None:
            self._stop()
        if self.preflight is not None and self.preflight.step_over():
            raise StopTraining(0)

    def _stop(self) -> None:
        if self.stopped is None:
            self.stopped = self.stop_slug
            self.recorder.event(self.step, "stopped", slug=self.stopped)
            self.blackbox.write("stopped")
            self.recorder.meta(stopped=self.stopped)
            raise StopTraining(STOPPED)

    def _end_step(self, state: OptimizerState) -> None:
        self.readback.tick()
        if self.blackbox.capture is not None:
            self.blackbox.step_over()
        self.coming = self.step + 1 if self._round >= self._last_round else self.step
        background = self.recorder.cpu_seconds
        if background != self._background_paid:
            self.budget.charge_background(background - self._background_paid)
            self._background_paid = background
        self.last_step_seconds = self.budget.settle(self.step, self._light_since)
        self._light_since = 0
        if self.deep:
            self._maybe_end_sample()
        if self.graph.asking and (self.step > 1 or all(s.steps for s in self.optimizers.known())):
            self.graph.stop_asking()
        self._full_left -= 1
        if self._full_left <= 0:
            self._plan()

    def _plan(self) -> None:
        """A round of full steps is over: decide on the coming ones."""
        players = max(1, len(self._round | self._last_round))
        self._full_left = players
        if self.deep:
            return
        if self.coming == self.step and self.budget.deep_is_due(self.coming):
            self._full_left = 1  # a sample that began within a round would not hold what one player made for the next
            return
        if self.budget.wants_deep(self.coming):
            self._begin_sample()
            return
        if self.preflight is not None:
            return  # which counts the steps, and must see every one
        self.light.begin(self, players * self.budget.light_steps(self.step))
        if self.light.key is not None:
            self.optimizers.ignore_ends()

    def end_light_step(self) -> None:
        """An optimizer has stepped on a light step."""
        self.readback.tick()
        if self.blackbox.capture is not None:
            self.blackbox.step_over()
        self.coming = self.step + 1 if self._round >= self._last_round else self.step
        self.light.left -= 1
        if self.light.left <= 0:
            self.end_light_round()
        if self.stop_slug is not None:
            self._stop()

    def end_light_round(self) -> None:
        """All light steps that were planned are over."""
        self.look_closer()
        self.optimizers.mark_gradients()
        if self.stop_slug is not None:
            self._stop()

    def look_closer(self) -> None:
        """No more light steps for now, whatever was planned."""
        if self.light.on:
            self._light_since += self.light.settle()
            self.light.end()
            self.optimizers.hear_ends()
            self._full_left = max(1, len(self._round | self._last_round))
            self.optimizers.forget_gradients()
            self.backward.hand_over()

    def _maybe_end_sample(self) -> None:
        waiting = any(s.deep for s in self.optimizers.known() if s.id in self._round | self._last_round)
        if waiting and self.step - self._deep_since < LONGEST_SAMPLE:
            return
        self.deep = False
        self.rules.forget_input()
        self.modules.disarm()
        self.modules.emit()
        self.insight.emit()

    def _begin_sample(self) -> None:
        self.deep = True
        self._deep_since = self.step
        for state in self.optimizers.known():
            state.deep = True
        if self.by_hand is not None:
            self.by_hand.state.deep = True
        self.modules.arm()
        self.blackbox.sample()

    def not_by_hand(self) -> None:
        """An optimizer that is not followed steps: the backward calls before it were its own."""
        self._patience = None

    def backward_over(self) -> None:
        """A backward call has returned."""
        if self.deep:
            self.graph.after_backward()
        if self.step == 0 or (self.by_hand is not None and not self.by_hand.handed):
            self.recorder.release()
            self._without_step()

    def _without_step(self) -> None:
        """No optimizer has stepped before this backward call was over."""
        from vivavoce.attach.byhand import ByHand, Patience

        if self._patience is None:
            self._patience = Patience()
        try:
            if self.by_hand is None and self._patience.ends(self):
                self.update_by_hand(ByHand(self))
        except Exception as error:
            self.optimizers.fail(error)
        if self.by_hand is not None:
            self.by_hand.after_backward()

    def update_by_hand(self, by_hand: ByHand) -> None:
        """The weights are updated by hand: from here on every gradient is a step."""
        self.by_hand = by_hand
        self.optimizers.states[BY_HAND] = by_hand.state

    @property
    def at_start_of_round(self) -> bool:
        """Whether the optimizer that steps now is the first of its round."""
        return len(self._round) == 1

    def gradients_fresh(self) -> bool:
        """Whether a backward call came after the last step."""
        return any(state.backward_calls for state in self.optimizers.known())

    def evaluating(self) -> bool:
        """Whether all known models are in evaluation mode."""
        roots = [root for state in self.registry.models.values() if (root := state.root()) is not None]
        return bool(roots) and not any(root.training for root in roots)

    def leave_modules_alone(self) -> None:
        """Something is compiled: no hooks on modules and no anomaly mode from here on."""
        self.compiling = True
        self.light.barred = True
        self.look_closer()
        self.modules.disarm()
        self.graph.stop_asking()
        self.blackbox.close()
        if self.preflight is not None:
            self.preflight.leave_models_alone()

    def status(self) -> Status:
        """The newest values; may be asked from any thread."""
        finding = self.latest.finding
        return Status(
            step=self.step or None,
            loss=self.latest.loss,
            gradient_norm=self.latest.gradient_norm,
            overhead=self.budget.overhead,
            worst=finding.slug if finding else None,
            severity=finding.severity if finding else None,
            guarded=sum(self.guard.counts.values()) if self.guard is not None else 0,
        )


_forking: list[Session] = []
_forks_watched = False


def current() -> Session | None:
    """The session that watches this process, None where none does."""
    return next((session for session in _forking if session.active), None)


def _watch_forks(session: Session) -> None:
    global _forks_watched
    if not _forks_watched and hasattr(os, "register_at_fork"):
        _forks_watched = True
        os.register_at_fork(after_in_child=_after_fork)
    if session not in _forking:
        _forking.append(session)


def _after_fork() -> None:
    for session in _forking:
        session.enter_fork()


def _describe(error: BaseException) -> dict[str, Any]:
    data: dict[str, Any] = {"type": type(error).__name__, "message": str(error)[:500]}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_library(f.filename)]
    if frames:
        data |= {"file": os.path.abspath(frames[-1].filename), "line": frames[-1].lineno}
    return data
