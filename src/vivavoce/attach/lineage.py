"""Optimizers that a script makes again and again at one line: inner loops of meta-learning, sweeps, cross-validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from vivavoce.record.entities import Site

if TYPE_CHECKING:
    from vivavoce.attach.optimizer_state import OptimizerState
    from vivavoce.record.recorder import SignalWriter

MOST_ALIKE = 8  # optimizers of one line that are recorded one by one; the next goes on as the latest of them


@dataclass
class Lineage:
    """What the optimizers of one line leave to the next one: their entity, its parameters' ids and its signals."""

    made: int = 0
    id: int = -1
    class_name: str = ""
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    held: int = 0
    step_site: Site | None = None
    zero_grad_site: Site | None = None
    signals: tuple[SignalWriter | None, ...] = (None, None, None)


class Lineages:
    """The lines where optimizers were made. Finding the models of another one, and recording it, costs tens of milliseconds."""

    def __init__(self) -> None:
        self._by_site: dict[Site, Lineage] = {}

    def heir(self, site: Site | None, class_name: str, parameters: list[Tensor]) -> Lineage | None:
        """Note that an optimizer was made; what it goes on with, None where it is recorded as one of its own."""
        if site is None:
            return None
        lineage = self._by_site.setdefault(site, Lineage())
        lineage.made += 1
        alike = lineage.class_name == class_name and lineage.shapes == _shapes(parameters)
        return lineage if lineage.made > MOST_ALIKE and alike else None

    def note(self, state: OptimizerState) -> None:
        """An optimizer is known in full, at its first step."""
        lineage = None if state.site is None else self._by_site.get(state.site)
        if lineage is not None:
            lineage.id, lineage.class_name = state.id, state.class_name
            lineage.shapes, lineage.ids, lineage.held = _shapes(state.parameters), state.ids, state.held
            lineage.step_site, lineage.zero_grad_site = state.step_site, state.zero_grad_site
            lineage.signals = (state.gradient_norm, state.step_signal, state.rate_signal)


def _shapes(parameters: list[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in parameters]
