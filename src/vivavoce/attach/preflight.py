"""`viva run --preflight`: watches the first steps of the user's own loop, tries their copy out, and ends the script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vivavoce.attach import numbers
from vivavoce.attach.budget import now
from vivavoce.attach.capture import Capture
from vivavoce.attach.rehearsal import Rehearsal, aside
from vivavoce.attach.tap import Tap
from vivavoce.attach.twin import NotRepeatableError

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

STEPS = 20  # training steps of the script that are watched before it is ended
CAPTURED = (1, 2, 10, STEPS)  # steps that are noted down: a script may end before the last one, and models that were
# made before the watch began are known from the second on only


class Preflight(Tap):
    """Collects what the checks need, has them made after `STEPS` steps, and records their results.

    `rehearsals` holds, by step, the first and the latest that can be repeated on a copy, `obstacle` says why there are none. `before` holds the
    weights as the first step found them; `fed` the ids of the parameters that had a gradient other than zero.
    """

    name = "preflight"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.rehearsals: dict[int, Rehearsal] = {}
        self.obstacle = "no backward pass was seen"
        self.before: dict[int, Tensor] = {}
        self.fed: set[int] = set()
        self.calls = 1  # backward calls a step
        self.over = False
        self._calls = 0
        self._capture: Capture | None = None
        self._concluded = False
        self._held: list[Any] = []  # optimizers, which a script may let go of before it ends

    def install(self) -> None:
        """Listen to the first step."""
        self._arm()

    def uninstall(self) -> None:
        """Listen no more."""
        self._disarm()
        super().uninstall()

    # the steps ------------------------------------------------------------------------------------------------------

    def leave_models_alone(self) -> None:
        """A model is compiled: it must not be listened to."""
        self.obstacle = "the model is compiled"
        self._disarm()

    def backward_begins(self, loss: Any) -> None:
        """A backward call starts on a loss."""
        if not self.on:
            return
        started = now()
        try:
            self._calls += 1
            self._keep_weights()
            if self._capture is not None:
                self._rehearse(self._capture, loss)
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_setup(now() - started)

    def step_over(self) -> bool:
        """An optimizer has stepped. True where the script is to end now."""
        session = self.session
        if self.on:
            try:
                self._disarm()
                self._note_gradients()
                self._held = [state.optimizer() for state in session.optimizers.known()]
                self.calls, self._calls = max(1, self._calls), 0
                if session.coming in CAPTURED:
                    self._arm()
            except Exception as error:
                self.fail(error)
        if session.coming <= STEPS:
            return False
        self.conclude()
        self.over = True
        return True

    def conclude(self, broken_off: bool = False) -> None:
        """Make the checks and record their results; `broken_off`: without the slow ones, the script has failed."""
        from vivavoce.attach.preflight_checks import Examination

        if self._concluded or not self.session.step:
            return
        self._concluded = True
        if broken_off:
            self.rehearsals, self.obstacle = {}, "the script failed before it was over"
        started = now()
        try:
            self._disarm()
            with aside(self.session):
                checks = Examination(self).checks()
        except Exception as error:
            self.fail(error)
            checks = []
        data = [check.to_json() for check in checks]
        self.session.recorder.event(
            self.session.step, "preflight", steps=self.session.step, seconds=round(now() - started, 3), checks=data
        )
        self.session.budget.charge_setup(now() - started)

    # noting down ------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self.session.compiling or self.session.registry.compiled:
            self.obstacle = "the model is compiled"
        elif self.on and self._capture is None:
            self._capture = Capture(self.session)
            self._capture.start()

    def _disarm(self) -> None:
        capture = self._capture
        if capture is not None:
            capture.stop()
            capture.release()
            self._capture = None if capture.silence() else capture

    def _rehearse(self, capture: Capture, loss: Any) -> None:
        capture.close(loss, self.session.scaler.before(loss))
        if capture.nodes or capture.broken:
            try:
                with aside(self.session):
                    rehearsal = capture.rehearsal()
                    rehearsal.verify()
                first = min(self.rehearsals, default=self.session.coming)
                self.rehearsals = {s: r for s, r in self.rehearsals.items() if s == first}
                self.rehearsals[self.session.coming] = rehearsal
            except NotRepeatableError as error:
                self.obstacle = str(error)
        elif not self.rehearsals:
            self.obstacle = "no call of a model was seen before backward()"
        capture.release()

    def _keep_weights(self) -> None:
        if self.before:
            return
        for entity in self.session.registry.known():
            tensor = self.session.registry.tensor(entity.id)
            if tensor is not None and numbers.readable(tensor):
                self.before[entity.id] = tensor.detach().clone()

    def _note_gradients(self) -> None:
        for entity in self.session.registry.known():
            tensor = self.session.registry.tensor(entity.id)
            if entity.id in self.fed or tensor is None or tensor.grad is None:
                continue
            if bool(torch.count_nonzero(numbers.plain(tensor.grad))):
                self.fed.add(entity.id)
