"""Training without an optimizer: scripts that update their weights by hand, or with an optimizer class of their own."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vivavoce.attach import numbers
from vivavoce.attach.budget import now
from vivavoce.attach.optimizer_state import OptimizerState
from vivavoce.attach.registry import variable_name

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

MOVES = 3  # times that weights changed between backward calls without an optimizer's step: they are updated by hand
LONGEST_PATIENCE = (
    64  # backward calls without any step after which that is taken for granted (nothing moves, or on a device)
)
MOST_ADOPTIONS = 32  # times that other leaves may turn up: a script that makes new ones for ever is not followed
PROBES = 8  # leaves whose values are compared between backward calls
PROBE_VALUES = 16  # elements of each


class Moves:
    """Counts how often weights have other values than when they were looked at before."""

    def __init__(self, weights: Sequence[Tensor] = ()) -> None:
        self.count = 0
        self._weights = [weakref.ref(weight) for weight in weights]
        self._values: list[Tensor] = []

    def are(self, weights: Sequence[Tensor]) -> bool:
        """Whether these very tensors are what it was made for."""
        return all(ref() is weight for ref, weight in zip(self._weights, weights, strict=True))

    def look(self, weights: Sequence[Tensor]) -> int:
        """Compare a few values of the weights with those of before; returns how often they have changed."""
        values = [numbers.sample(weight, PROBE_VALUES).clone() for weight in weights[:PROBES]]
        self.count += len(values) == len(self._values) and not all(map(torch.equal, values, self._values))
        self._values = values
        return self.count


class Patience:
    """Tells gradients that are accumulated for an optimizer's first step from weights that are updated by hand."""

    def __init__(self) -> None:
        self.calls = 0
        self._moves = Moves()

    def ends(self, session: Session) -> bool:
        """Another backward call is over and no optimizer has stepped: True where the updates are made by hand."""
        self.calls += 1
        leaves = [leaf for leaf in reached_leaves(session) if leaf.is_cpu]
        return self._moves.look(leaves) >= MOVES or self.calls > LONGEST_PATIENCE


@dataclass(frozen=True)
class Handed:
    """Gradients that were handed to the script instead of left in `.grad`, each of the weight in its place.

    `names` are those of weights that are passed on from step to step as new tensors, None where they stay the same.
    """

    weights: list[Tensor]
    gradients: list[Tensor | None]
    names: tuple[str, ...] | None = None


def reached_leaves(session: Session) -> list[Tensor]:
    """The live leaves that graphs have reached: parameters first, then those that no module owns."""
    known = [session.registry.tensor(p.id) for p in session.registry.known() if p.reached]
    loose = [ref() for ref in session.graph.loose.values()]
    return [tensor for tensor in (*known, *loose) if tensor is not None]


class ByHand:
    """Counts every backward call as a step; the gradients are read right after it, the weights compared with the
    next one's."""

    def __init__(self, session: Session, handed: bool = False) -> None:
        self.session = session
        self.handed = handed  # gradients are handed to the script, not left in `.grad`
        self.state = OptimizerState(session.take_optimizer_id(), None, None)
        self._leaves: list[weakref.ref[Tensor]] = []
        self._names: tuple[str, ...] | None = None
        self._adoptions = 0

    def after_backward(self, handed: Handed | None = None) -> None:
        """A backward call is over: read the gradients it left or handed back. Faults switch the optimizer tap off."""
        session = self.session
        if session.light.on:
            session.begin_step(self.state)
            self.state.steps += 1
            session.end_light_step()
            return
        started = now()
        try:
            self._read(handed)
        except Exception as error:
            session.optimizers.fail(error)
            session.by_hand = None
            return
        session.budget.charge(now() - started)
        session.end_step(self.state)

    def _read(self, handed: Handed | None) -> None:
        session, state, tap = self.session, self.state, self.session.optimizers
        if handed is None:
            self._find(reached_leaves(session))
        elif handed.names is None:
            self._find(handed.weights)
        else:
            self._follow(handed.weights, handed.names)
        session.begin_step(state)
        if not state.parameters:
            return
        tap.signals.read_gradients(state, session.step, None if handed is None else handed.gradients)
        if state.before is not None and len(state.before) == len(state.parameters):
            tap.signals.record_change(state, state.before)
            state.before, state.deep = None, False
        elif state.deep:
            state.before = [numbers.sample(tensor).clone() for tensor in state.parameters]
        state.steps += 1
        tap.close_step(state)
        state.parameters = []  # no optimizer tells when they are dropped: hold none of them

    def _find(self, leaves: list[Tensor]) -> None:
        """Give the state its parameters; new names and ids only where they are others than last time."""
        state, tap = self.state, self.session.optimizers
        same = len(leaves) == len(self._leaves) and all(
            ref() is leaf for ref, leaf in zip(self._leaves, leaves, strict=True)
        )
        if same:
            state.parameters = leaves
        elif self._adoptions < MOST_ADOPTIONS:
            self._adoptions += 1
            self._leaves = [weakref.ref(leaf) for leaf in leaves]
            self._name([leaf for leaf in leaves if self.session.registry.parameter(leaf) is None])
            state.before = None
            tap.adopt(state, leaves)
            tap.record_entity(state, ({"parameters": state.ids},))

    def _follow(self, weights: list[Tensor], names: tuple[str, ...]) -> None:
        """Weights that are new tensors in every step: the same parameters where they have the same names."""
        registry, state = self.session.registry, self.state
        if names == self._names:
            registry.pass_on(state.ids, weights)
            state.parameters = weights
        elif self._adoptions < MOST_ADOPTIONS:
            self._adoptions += 1
            self._names = names
            for weight, name in zip(weights, names, strict=True):
                registry.update(replace(registry.ensure(weight, name, self.session.step, reached=True), trainable=True))
            state.before = None
            self.session.optimizers.adopt(state, weights)
            self.session.optimizers.record_entity(state, ({"parameters": state.ids},))

    def _name(self, tensors: list[Tensor]) -> None:
        """Leaves that no module owns are named by the variables that hold them in the script."""
        frame = self.session.sites.user_frame(4)
        for index, tensor in enumerate(tensors):
            name = variable_name(tensor, frame) or f"leaf {index}"
            self.session.registry.ensure(tensor, name, self.session.step, reached=True)
        self.session.graph.loose.clear()
