"""The user's rules, held against what the loss functions are given: on sampled steps, and at the beginning of each validation pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vivavoce.attach import numbers
from vivavoce.attach.budget import now
from vivavoce.attach.tap import Tap
from vivavoce.measure.rules_run import RunRule, Term, parse_run_rule
from vivavoce.record.entities import Rule

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

ROWS = 256  # examples of a batch that are looked at
COLUMNS = 64  # outputs of each
CALLS_A_PASS = 8  # batches of a validation pass that are looked at
ROUNDING = 16.0  # units in the last place, of the largest number: differences that arithmetic explains
COUNTS = ("broken", "checked", "worst", "targets_broken", "targets_checked")
SOFTMAX, SIGMOID = ("cross_entropy",), ("binary_cross_entropy_with_logits",)


class RuleTap(Tap):
    """Holds the rules of the settings against predictions. It patches nothing: the tap on losses calls it."""

    name = "rules"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.rules: list[RunRule] = []
        self._entities: dict[tuple[int, str], Rule] = {}  # by id of the loss and text
        self._input: Tensor | None = None
        self._cost = 0.0  # seconds of the last look during validation

    def install(self) -> None:
        """Read the rules; the settings have checked them."""
        self.rules = [parse_run_rule(text) for text in self.session.settings.rules]

    def saw_input(self, value: Tensor) -> None:
        """A model was called with this input on a sampled step."""
        if self.rules:
            self._input = value.detach()

    def sampled(self, loss: int, function: str, prediction: Any, target: Any) -> None:
        """A loss function was called in training on a sampled step."""
        self._look("rule", self.session.coming, loss, function, prediction, target)
        self.forget_input()

    def forget_input(self) -> None:
        """The sampled step is over: its input belongs to no later prediction, and is not kept alive."""
        self._input = None

    def validated(self, loss: int, function: str, call: int, prediction: Any, target: Any) -> None:
        """A loss function was called for the `call`-th time (from 1) in a validation pass."""
        if not self.rules or call > CALLS_A_PASS or not self.session.budget.affords(self._cost):
            return
        started = now()
        self.forget_input()  # of a training step
        self._look("val/rule", self.session.step, loss, function, prediction, target)
        self._cost = now() - started

    def _look(self, signal: str, step: int, loss: int, function: str, prediction: Any, target: Any) -> None:
        if not self.on or not self.rules or not numbers.is_plain(prediction) or not prediction.ndim:
            return
        try:
            with torch.no_grad():
                given = {"prediction": prediction, "target": target, "input": self._input}
                given["probability"] = _probability(function, prediction)
                for rule in self.rules:
                    self._hold(rule, signal, step, loss, function, given)
        except Exception as error:
            self.fail(error)

    def _hold(
        self, rule: RunRule, signal: str, step: int, loss: int, function: str, given: dict[str, Tensor | None]
    ) -> None:
        table, why = _table(rule, given)
        entity = self._entity(rule, loss, function, why)
        if table is None:
            return
        targets, _ = _table(rule, {**given, "prediction": given["target"]}) if _alike(rule, given) else (None, "")
        both = table if targets is None else torch.cat([table, targets], dim=1)
        counts = self.session.recorder.signal(signal, ("rule", entity.id), COUNTS)
        epsilon = _epsilon(rule, given)
        width = table.shape[1]

        def deliver(values: list[float]) -> None:
            try:  # of a device it comes later, when nobody stands guard
                columns = np.array(values).reshape(len(rule.terms), -1)
                counts.append(step, _row(rule, columns, width, epsilon))
            except Exception as error:
                self.fail(error)

        self.session.readback.read(both.reshape(-1), deliver)

    def _entity(self, rule: RunRule, loss: int, function: str, why: str) -> Rule:
        """The rule at this loss; written down once, and again where it fits what it did not fit before."""
        key = (loss, rule.text)
        known = self._entities.get(key)
        if known is None or known.unfit not in ("", why):
            number = len(self._entities) if known is None else known.id
            known = self._entities[key] = Rule(id=number, text=rule.text, loss=loss, function=function, unfit=why)
            self.session.recorder.entity(known)
        return known


def _alike(rule: RunRule, given: dict[str, Tensor | None]) -> bool:
    """Whether the targets are numbers of the same kind as the predictions, so that the rule can be asked of them."""
    prediction, target = given["prediction"], given["target"]
    if prediction is None or not numbers.is_plain(target) or target is None or not rule.about_targets():
        return False
    return target.shape == prediction.shape and target.is_floating_point()


def _epsilon(rule: RunRule, given: dict[str, Tensor | None]) -> float:
    """The unit in the last place of the shortest numbers that the rule speaks of."""
    kinds = [value.dtype for term in rule.terms if (value := given[term.source]) is not None]
    return max(torch.finfo(kind).eps if kind.is_floating_point else 0.0 for kind in kinds)


def _probability(function: str, prediction: Tensor) -> Tensor | None:
    if function in SOFTMAX:
        return prediction.detach().softmax(1 if prediction.ndim > 1 else 0)
    if function in SIGMOID:
        return prediction.detach().sigmoid()
    if function == "nll_loss":
        return prediction.detach().exp()
    return prediction.detach() if function == "binary_cross_entropy" else None


def _table(rule: RunRule, given: dict[str, Tensor | None]) -> tuple[Tensor | None, str]:
    """The terms' values, shape (terms, examples × columns); or None and why there are none."""
    parts = []
    for term in rule.terms:
        value = given[term.source]
        if value is None or not numbers.is_plain(value) or not value.ndim:
            return None, f"there is no {term.source} at hand"
        part = _columns(term, value.detach())
        if part is None:
            return None, f"{term.name} does not exist: {term.source} has shape {tuple(value.shape)}"
        parts.append(part)
    examples, width = {len(part) for part in parts}, {part.shape[1] for part in parts} - {1}
    if len(examples) > 1 or len(width) > 1:
        shapes = " and ".join(f"{t.name} {tuple(p.shape)}" for t, p in zip(rule.terms, parts, strict=True))
        return None, f"its parts do not go together: {shapes}"
    most = max(part.shape[1] for part in parts)
    kind = torch.promote_types(parts[0].dtype, torch.float32) if len({p.dtype for p in parts}) == 1 else torch.float32
    device = parts[0].device
    flat = [part.to(device, kind).expand(-1, most).reshape(-1) for part in parts]
    return (torch.stack(flat), "") if len(flat[0]) else (None, "the batch is empty")


def _columns(term: Term, value: Tensor) -> Tensor | None:
    """The term's values of the first examples, shape (examples, columns)."""
    value = value[:ROWS]
    rows = value.reshape(len(value), -1, 1) if value.ndim < 3 else value.flatten(2)  # (examples, columns, places)
    if term.index is not None:
        return rows[:, term.index, :COLUMNS] if term.index < rows.shape[1] else None
    if term.reduction:
        rows = rows[:, :, :COLUMNS]
        rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
        return getattr(rows, {"min": "amin", "max": "amax"}.get(term.reduction, term.reduction))(1)  # type: ignore[no-any-return]
    return rows.reshape(len(rows), -1)[:, :COLUMNS]


def _row(rule: RunRule, columns: Any, width: int, epsilon: float) -> list[float]:
    """The numbers of `COUNTS`; the first `width` columns hold predictions, the others targets in their place."""
    return [*_counted(rule, columns[:, :width], epsilon), *_counted(rule, columns[:, width:], epsilon)[:2]]


def _counted(rule: RunRule, columns: Any, epsilon: float) -> list[float]:
    """Broken, checked and worst; NaN where nothing was checked."""
    if not columns.shape[1]:
        return [np.nan] * 3
    finite = columns[np.isfinite(columns)]
    slack = ROUNDING * epsilon * float(np.max(np.abs(finite), initial=0.0))
    found = rule.stand({t.name: c for t, c in zip(rule.terms, columns, strict=True)}, slack)
    return [float(len(found.broken)), float(len(np.unique(found.rows))), float(np.max(found.amounts, initial=0.0))]
