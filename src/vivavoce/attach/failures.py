"""What went wrong when a loss or gradient is no longer finite: found on the spot, in the graph that is at hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vivavoce.attach import numbers, wiring
from vivavoce.attach.graph import leaf_of, walk
from vivavoce.record.entities import Site

if TYPE_CHECKING:
    from vivavoce.attach.optimizer_state import OptimizerState
    from vivavoce.attach.session import Session

BAD_TARGET = "its target holds a NaN or an infinity"
MOST_EVENTS = 10  # events of each kind; later ones show in the signals alone
SAVED_INPUTS = ("self", "other", "mat1", "mat2", "input", "exponent", "batch1", "batch2", "target")
SINGULAR = {  # operations whose derivative PyTorch has as infinite or undefined somewhere, and where
    "Sqrt": "its derivative is infinite at 0",
    "Rsqrt": "its derivative is infinite at 0",
    "Pow": "its derivative is infinite at 0 for exponents below 1",
    "Log": "its derivative is infinite at 0",
    "Log2": "its derivative is infinite at 0",
    "Log10": "its derivative is infinite at 0",
    "Log1P": "its derivative is infinite at -1",
    "Xlogy": "its derivative is infinite at 0",
    "Div": "its derivative is infinite where the denominator is 0",
    "Reciprocal": "its derivative is infinite at 0",
    "Acos": "its derivative is infinite at ±1",
    "Asin": "its derivative is infinite at ±1",
    "Acosh": "its derivative is infinite at 1",
    "Atanh": "its derivative is infinite at ±1",
    "Erfinv": "its derivative is infinite at ±1",
    "Logit": "its derivative is infinite at 0 and 1",
    "Hypot": "its derivative is 0/0 at the origin",
    "Logsumexp": "its derivative is 0/0 where all values are -inf",
    "Softmax": "its derivative is 0/0 where all values are -inf",
    "LinalgSvd": "its derivative divides by differences of singular values",
    "LinalgEigh": "its derivative divides by differences of eigenvalues",
    "Exp": "it overflows",
}


class Failures:
    """Records `non-finite` events. Works only after something has already gone wrong, so it may take its time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._losses = 0
        self._gradients = 0

    @property
    def exhausted(self) -> bool:
        """Enough has been seen: nothing more is learned by a closer look."""
        return self._losses + self._gradients > MOST_EVENTS

    def loss(self, site: int, step: int, value: float, loss: Tensor | None) -> None:
        """A loss that is NaN or infinite; `loss` is the tensor where its graph is still there."""
        self._losses += 1
        if self._losses > MOST_EVENTS:
            return
        data: dict[str, Any] = {"what": "loss", "loss": site, "value": _name(value), "finite_before": self._first()}
        weights = self._broken_weights()
        if weights:
            data |= {"what": "weight", "parameters": weights}
        elif loss is not None and loss.grad_fn is not None:
            data |= self._first_bad_operation(site, loss)
        if data["what"] == "loss" and not data.get("file"):
            data |= self.session.blackbox.name("loss", step)
        self.session.recorder.event(step, "non-finite", **data)
        self.session.blackbox.write("non-finite")

    def gradient(self, state: OptimizerState, step: int, row: np.ndarray[Any, Any]) -> None:
        """Gradients that are NaN or infinite while the loss was finite."""
        loss = self.session.latest.loss
        if loss is not None and not math.isfinite(loss):
            return
        self._gradients += 1
        if self._gradients > MOST_EVENTS:
            return
        bad = [id for id, norm in zip(state.ids, row, strict=True) if not math.isfinite(norm)]
        good = [id for id, norm in zip(state.ids, row, strict=True) if math.isfinite(norm) and norm >= 0]
        data: dict[str, Any] = {
            "what": "gradient",
            "parameters": bad,
            "optimizer": state.id,
            "value": self._kind_of(bad, row),
            "finite_before": self._first(),
        }
        if data["value"] != "overflow":
            data |= self._suspects(bad, good)
            if not data.get("file"):
                data |= self.session.blackbox.name("gradient", step)
        self.session.recorder.event(step, "non-finite", **data)
        self.session.blackbox.write("non-finite")

    def _first(self) -> bool:
        return self._losses + self._gradients <= 1

    def _kind_of(self, bad: list[int], row: np.ndarray[Any, Any]) -> str:
        tensors = [t.grad for t in map(self.session.registry.tensor, bad) if t is not None and t.grad is not None]
        on_cpu = tensors and tensors[0].device.type == "cpu"
        if on_cpu and all(bool(torch.isfinite(numbers.plain(g)).all()) for g in tensors):
            return "overflow"  # every entry is finite, their sum of squares is not
        return "nan" if np.isnan(row).any() else "inf"

    def _broken_weights(self) -> list[int]:
        broken = []
        for entity in self.session.registry.known():
            tensor = self.session.registry.tensor(entity.id)
            readable = tensor is not None and tensor.device.type == "cpu" and numbers.is_plain(tensor)
            if tensor is not None and readable and not bool(torch.isfinite(tensor.detach()).all()):
                broken.append(entity.id)
        return broken

    # forward: the first operation that put out something non-finite ----------------------------------------------------

    def _first_bad_operation(self, site: int, loss: Tensor) -> dict[str, Any]:
        nodes, _ = walk(loss)
        for index, node in enumerate(nodes):
            if leaf_of(node) is not None:
                continue
            culprit = _judge(node)
            if culprit == "input":
                return {"what": "input"} | self._place(site, index, node, nodes)
            if culprit == BAD_TARGET:
                return {"what": "input", "detail": culprit} | self._place(site, index, node, nodes)
            if culprit is not None:
                return {"detail": culprit} | self._place(site, index, node, nodes)
        operations = [index for index, node in enumerate(nodes) if leaf_of(node) is None]
        return self._place(site, operations[-1], nodes[operations[-1]], nodes) if operations else {}

    def _place(self, site: int, index: int, node: Any, nodes: list[Any]) -> dict[str, Any]:
        data: dict[str, Any] = {"op": node.name()}
        lines = self.session.graph.lines.get(site, [])
        if len(lines) == len(nodes) and lines[index][0] == node.name():
            data |= _site_json(lines[index][1], lines[index][2])
        data["layer"] = self._layer_before(site, index)
        return {key: value for key, value in data.items() if value not in (None, "")}

    def _layer_before(self, site: int, index: int) -> str | None:
        """The layer whose parameters are used last at or before an operation."""
        before = {i: p for p, i in self.session.graph.consumers.get(site, {}).items() if i <= index}
        if not before:
            return None
        names = {entity.id: entity.name for entity in self.session.registry.known()}
        return names.get(before[max(before)], "").rpartition(".")[0] or None

    # backward: operations with a singular derivative between the broken and the unbroken parameters ------------------------

    def _suspects(self, bad: list[int], good: list[int]) -> dict[str, Any]:
        for site, lines in self.session.graph.lines.items():
            consumers = self.session.graph.consumers.get(site, {})
            broken = [consumers[p] for p in bad if p in consumers]
            if not broken:
                continue
            first = max(broken)
            last = min((consumers[p] for p in good if p in consumers and consumers[p] > first), default=len(lines))
            found = [entry for entry in lines[first : last + 1] if _stem(entry[0]) in SINGULAR]
            if found:
                op, place, code = found[-1]
                return {"op": op, "detail": SINGULAR[_stem(op)], "layer": self._layer_before(site, first)} | _site_json(
                    place, code
                )
        return {}


def _judge(node: Any) -> str | None:
    """What an operation did wrong, "input" where it was handed a leaf that is not finite, None where all is well."""
    result = wiring.saved(node, "result")
    inputs = {name: wiring.saved(node, name) for name in SAVED_INPUTS}
    bad = [name for name, value in inputs.items() if value is not None and not _finite(value)]
    leaf_inputs = not any(following is not None for following, _ in node.next_functions[:1])
    if bad == ["target"]:
        return BAD_TARGET
    if bad:
        return "input" if leaf_inputs or _only_leaves(node) else "it was given a NaN or an infinity"
    if result is not None and not _finite(result):
        return "its result is not finite although its inputs are"
    stem, value = _stem(node.name()), inputs["self"]
    if stem in ("Log", "Log2", "Log10") and value is not None and bool((value <= 0).any()):
        return f"it was given {float(value.min()):.3g}: the logarithm of numbers ≤ 0 is not finite"
    other = inputs["other"]
    if stem == "Div" and other is not None and bool((other == 0).any()):
        return "it divides by 0"
    return None


def _only_leaves(node: Any) -> bool:
    return all(
        following is None or leaf_of(following) is not None or following.name() == "TBackward0"
        for following, _ in node.next_functions
    )


def _finite(value: Tensor) -> bool:
    if value.is_sparse or not (value.is_floating_point() or value.is_complex()):
        return True
    return bool(torch.isfinite(value).all())


def _stem(op: str) -> str:
    return op.rstrip("0123456789").removesuffix("Backward")


def _site_json(site: Site | None, code: str) -> dict[str, Any]:
    return {} if site is None else {"file": site.file, "line": site.line, "code": code}


def _name(value: float) -> str:
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
