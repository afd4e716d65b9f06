"""The black box: what led up to a failure, and one repetition of the failed step on a copy to name what broke.

A healthy run pays nothing for it: no reference to a batch is kept and no hook is on until something has looked wrong.
Then the next few steps are noted down as they happen, and let go when they end well.
"""

from __future__ import annotations

import math
from collections import deque
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vivavoce.attach.budget import now
from vivavoce.attach.capture import Capture
from vivavoce.attach.culprits import backward_culprit, forward_culprit
from vivavoce.attach.generators import States
from vivavoce.attach.rehearsal import Rehearsal, aside
from vivavoce.attach.sites import is_library
from vivavoce.attach.structures import tensors_in
from vivavoce.attach.twin import NotRepeatableError, Twin
from vivavoce.examine.reading import gradient_norms, main_optimizer
from vivavoce.record.run import Run

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

ROWS = 32  # steps before a failure that are written down
SAMPLES = 2  # newest states of the random number generators that are kept, one a sampled step
ARMED_STEPS = 4  # steps that are noted down after an alarm
MOST_ARMED = 12  # of them in a run: alarms of a healthy run must not add up to a cost
MOST_WAITED = 3  # steps without a backward call after which noting down is given up
MOST_WRITTEN = 3  # records in a run
LARGEST_COPY = 2**30  # bytes of parameters: larger models are not copied in a run that was not asked to
LONGEST_STEP = 10.0  # seconds: slower steps are not repeated
MOST_FRAMES = 4  # of the script, whose variables are looked through for the failed step's batch


class BlackBox:
    """Keeps what is known of the last steps, and writes it down when something fails. Never raises."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.capture: Capture | None = None  # of the step that goes on, or has just been closed
        self.samples: deque[tuple[int, States]] = deque(maxlen=SAMPLES)
        self.on = True
        self._armed = 0  # steps still to be noted down
        self._spent = 0
        self._written = 0
        self._closed = False
        self._waited = 0
        self._done: set[str] = set()  # kinds of failures that were repeated
        self._stash: _Stash | None = None

    def fail(self, error: Exception) -> None:
        """An internal error: the black box is closed, the training goes on."""
        self.on = False
        self.close()
        self.session.fault("black box", error)

    def close(self) -> None:
        """Let go of everything. A mode that is at work further up is taken off when the step is over."""
        self._armed, self._closed, self._stash = 0, True, None
        if self.capture is not None:
            self.capture.stop()
            self.capture.release()
            if self.capture.silence():
                self.capture = None

    # the last steps ---------------------------------------------------------------------------------------------------

    def sample(self) -> None:
        """A step that is sampled begins: keep the states of the random number generators."""
        if not self.on:
            return
        started = now()
        try:
            self.samples.append((self.session.coming, States()))
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_deep(now() - started)

    def write(self, reason: str) -> None:
        """Record what is known of the last steps: once a reason."""
        if not self.on or reason in self._done or self._written >= MOST_WRITTEN:
            return
        self._done.add(reason)
        self._written += 1
        try:
            run = Run(self.session.recorder.source())
            data: dict[str, Any] = {"reason": reason, "rows": _rows(run)}
            data["random"] = [{"step": step, **states.to_json()} for step, states in self.samples]
            data |= self._batch(run)
            self.session.recorder.event(self.session.step, "black-box", **data)
        except Exception as error:
            self.fail(error)

    def _batch(self, run: Run) -> dict[str, Any]:
        """Which batch of the training data came last, counted from 1, and in which epoch; nothing without a loader."""
        states = [s for s in self.session.loaders.states() if s.batches and s.entity.role == "train"]
        if not states:
            return {}
        state = max(states, key=lambda s: s.batches)
        epochs = run.series("epoch", ("loader", state.entity.id))
        return {"batch": {"loader": state.entity.id, "index": state.batches, "epoch": int(epochs.counts.sum()) + 1}}

    # noting steps down after an alarm -----------------------------------------------------------------------------------

    def arm(self) -> None:
        """Something looks wrong: note the coming steps down."""
        if not self.on or self.session.preflight is not None or self._armed or self._spent >= MOST_ARMED:
            return
        if self._done >= {"loss", "gradient"}:
            return
        self._armed = min(ARMED_STEPS, MOST_ARMED - self._spent)
        self._spent += self._armed
        self._begin()

    def _begin(self) -> None:
        if self.capture is not None or self.session.compiling or self.session.registry.compiled:
            return
        try:
            self.capture = Capture(self.session, keep_sites=True)
            self.capture.start()
            self._closed = False
            self._waited = 0
        except Exception as error:
            self.fail(error)

    def backward_begins(self, loss: Any) -> None:
        """A backward call starts while a step is noted down: the first one of a step ends the noting."""
        capture = self.capture
        if (
            capture is None
            or self._closed
            or not self.on
            or not (capture.nodes or capture.broken)
            or not isinstance(loss, Tensor)
        ):
            return
        started = now()
        try:
            self._closed = True
            capture.close(loss, self.session.scaler.before(loss))
            if self._stash is not None:
                self._repeat_stashed(self._stash, capture)
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_setup(now() - started)

    def step_over(self) -> None:
        """The step that was noted down is over and ended well, or was looked into."""
        capture = self.capture
        if capture is None:
            return
        self._waited += 1
        if not self._closed and self._waited < MOST_WAITED:
            return
        try:
            capture.stop()
            if not capture.silence():
                return  # the mode lies under another one: the next step takes it off
            capture.release()
            self.capture = None
            self._armed -= 1
            if self._armed > 0:
                self._begin()
        except Exception as error:
            self.fail(error)

    # naming what broke --------------------------------------------------------------------------------------------------

    def name(self, what: str, step: int, weights_intact: bool = True) -> dict[str, Any]:
        """Repeat the step that has just failed, where it was noted down: operation, layer and line, as the event has them.

        `what` is "loss" or "gradient". Where the step was not noted down, the next one is, and repeated with the
        weights and, as far as the script's variables still hold it, the batch of this one. Once for each of the two.
        """
        if not self.on or what in self._done or self.session.preflight is not None:
            return {}
        if not weights_intact or self.session.last_step_seconds > LONGEST_STEP or self._too_large():
            return {}
        self._done.add(what)
        started = now()
        try:
            if self.capture is not None and self._closed:
                with aside(self.session):
                    return self._named(what, self.capture.rehearsal())
            self._stash = _Stash(self.session, what, step)
            self._armed = max(self._armed, 1)
            self._begin()
        except NotRepeatableError:
            pass
        except Exception as error:
            self.fail(error)
        finally:
            self.session.budget.charge_setup(now() - started)
        return {}

    def _named(self, what: str, rehearsal: Rehearsal) -> dict[str, Any]:
        culprit = forward_culprit if what == "loss" else backward_culprit
        found = culprit(self.session, rehearsal)
        return found or {}

    def _repeat_stashed(self, stash: _Stash, capture: Capture) -> None:
        self._stash = None
        data: dict[str, Any] = {"of": stash.step, "what": stash.what, "reproduced": False}
        try:
            with aside(self.session):
                rehearsal = capture.rehearsal(stash.twin, stash.instead(self.session, capture))
                found = self._named(stash.what, rehearsal)
            data |= {"reproduced": True, **found} if found else {"because": "the repeated step stayed finite"}
        except NotRepeatableError as error:
            data["because"] = str(error)
        self.session.recorder.event(self.session.coming, "replay", **data)

    def _too_large(self) -> bool:
        registry = self.session.registry
        tensors = [tensor for p in registry.known() if (tensor := registry.tensor(p.id)) is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) > LARGEST_COPY


class _Stash:
    """The models and the batch of a step that failed before it was noted down."""

    def __init__(self, session: Session, what: str, step: int) -> None:
        self.what, self.step = what, step
        roots = [root for state in session.registry.models.values() if (root := state.root()) is not None]
        with aside(session):
            self.twin = Twin(session, roots)
            for state in session.optimizers.known():
                for parameter in state.parameters:
                    self.twin.leaf(parameter)
        self.batch = {path: tensor.detach().clone() for path, tensor in variables(session).items()}

    def instead(self, session: Session, capture: Capture) -> dict[int, Tensor]:
        """The failed step's data, by the slots of the same variables in a step noted down later."""
        names = {id(tensor): path for path, tensor in variables(session).items()}
        found = {}
        for slot, tensor in capture.tensors.items():
            old = self.batch.get(names.get(id(tensor), ""))
            if old is not None and old.dtype == tensor.dtype and old.ndim == tensor.ndim:
                found[slot] = old
        return found


def variables(session: Session) -> dict[str, Tensor]:
    """The data that the script's variables hold, by function, name and position: tensors that need no gradient."""
    found: dict[str, Tensor] = {}
    frame: FrameType | None = session.sites.user_frame(1)
    frames = 0
    while frame is not None and frames < MOST_FRAMES:
        if not is_library(frame.f_code.co_filename):
            frames += 1
            for name, value in list(frame.f_locals.items()):
                for position, tensor in enumerate(_data(value)):
                    found.setdefault(f"{frame.f_code.co_name}.{name}.{position}", tensor)
        frame = frame.f_back
    return found


def _data(value: Any) -> list[Tensor]:
    held = (
        value
        if isinstance(value, (Tensor, dict, list, tuple)) and (isinstance(value, Tensor) or len(value) < ROWS)
        else ()
    )
    return [t for t in tensors_in(held) if not t.requires_grad and not isinstance(t, torch.nn.Parameter)]


def _rows(run: Run) -> list[dict[str, float]]:
    """Loss, norm of the whole gradient, and learning rate of the last steps; what was not read at a step is missing."""
    table: dict[int, dict[str, float]] = {}
    for step, value in _last(run.train_loss.steps, run.train_loss.mean):
        table.setdefault(step, {})["loss"] = value
    optimizer = main_optimizer(run)
    if optimizer is not None:
        norms = gradient_norms(run, optimizer)
        for step, value in _last(norms.steps, np.where(norms.nonfinite > 0, math.nan, norms.typical)):
            table.setdefault(step, {})["gradient_norm"] = value
        rates = run.series("learning_rate", ("optimizer", optimizer.id))
        for step in table:
            before = np.searchsorted(rates.steps, step, side="right") - 1
            if before >= 0:
                table[step]["learning_rate"] = float(rates.mean[before])
    return [{"step": step, **_named_numbers(row)} for step, row in sorted(table.items())[-ROWS:]]


def _named_numbers(row: dict[str, float]) -> dict[str, Any]:
    from vivavoce.examine.finding import json_safe

    data: dict[str, Any] = json_safe(row)
    return data


def _last(steps: Any, values: Any) -> list[tuple[int, float]]:
    return [(int(step), float(value)) for step, value in zip(steps[-ROWS:], values[-ROWS:], strict=True)]
