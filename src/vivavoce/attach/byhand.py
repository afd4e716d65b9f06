"""Training without an optimizer: scripts that update their weights by hand, or with an optimizer class of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from vivavoce.attach import numbers
from vivavoce.attach.budget import now
from vivavoce.attach.optimizers import OptimizerState
from vivavoce.attach.registry import variable_name

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

PATIENCE = 3  # backward calls without any optimizer step before the updates are taken to be made by hand


class ByHand:
    """Counts every backward call as a step; the gradients are read right after it, the weights compared with the
    next one's."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.state = OptimizerState(session.take_optimizer_id(), None, None)
        self._known = 0

    def after_backward(self) -> None:
        """A backward call is over: read the gradients it left. Faults switch the optimizer tap off."""
        session = self.session
        started = now()
        try:
            self._read()
        except Exception as error:
            session.optimizers.fail(error)
            session.by_hand = None
            return
        session.budget.charge(now() - started)
        session.end_step(self.state)

    def _read(self) -> None:
        session, state, tap = self.session, self.state, self.session.optimizers
        reached = [p for p in session.registry.known() if p.reached]
        if len(reached) != self._known or self._known == 0:
            loose = [t for t in (ref() for ref in session.graph.loose.values()) if t is not None]
            tensors = [t for t in (session.registry.tensor(p.id) for p in reached) if t is not None] + loose
            self._name(loose)
            self._known = len(reached) + len(loose)
            tap.adopt(state, tensors)
            tap.record_entity(state, ({"parameters": state.ids},))
        session.begin_step(state)
        if not state.parameters:
            return
        if session.budget.wants_norms(session.step):
            started = now()
            tap.read_gradients(state, session.step)
            session.budget.charge_norms(now() - started)
            session.budget.charge(started - now())
        if state.before is not None and len(state.before) == len(state.parameters):
            tap.record_change(state, state.before)
            state.before, state.deep = None, False
        elif state.deep:
            state.before = [numbers.sample(tensor).clone() for tensor in state.parameters]
        state.steps += 1
        tap.close_step(state)

    def _name(self, tensors: list[Tensor]) -> None:
        """Leaves that no module owns are named by the variables that hold them in the script."""
        frame = self.session.sites.user_frame(4)
        for index, tensor in enumerate(tensors):
            name = variable_name(tensor, frame) or f"leaf {index}"
            self.session.registry.ensure(tensor, name, self.session.step, reached=True)
        self.session.graph.loose.clear()
