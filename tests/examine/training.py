"""Trains small networks and records the signals of `record/signals.py`, for tests of detectors on real numbers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vivavoce.record.entities import Clip, Event, Loss, Model, Module, Optimizer, Parameter, Site
from vivavoce.record.run import Run
from vivavoce.testing.runs import make_run

Batch = tuple[torch.Tensor, torch.Tensor]
SAMPLED = 5  # steps between deep samples, after the first five


def site(line: int) -> Site:
    return Site("/home/user/train.py", line)


@dataclass
class Training:
    """One model, one optimizer, one loss function: `run()` trains and returns what was recorded."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Callable[[int], Batch]
    steps: int = 200
    loss: str = "cross_entropy"
    validation: list[Batch] = field(default_factory=list)
    validate_every: int = 20
    clip: float | None = None
    zero_grad: bool = True
    accumulate: int = 1
    other_models: tuple[nn.Module, ...] = ()
    rows: dict[tuple[str, Any], tuple[list[Any], list[int], list[list[float]]]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def run(self) -> Run:
        self._register()
        for step in range(1, self.steps + 1):
            self._step(step)
            if self.validation and step % self.validate_every == 0:
                self._validate(step)
        signals = {key: (columns, steps, values) for key, (columns, steps, values) in self.rows.items()}
        return make_run(meta={"steps": self.steps}, entities=self._entities(), signals=signals, events=self.events)

    def _register(self) -> None:
        self.parameters: list[torch.nn.Parameter] = []
        self.names: list[tuple[int, str]] = []
        for index, model in enumerate((self.model, *self.other_models)):
            for name, parameter in model.named_parameters():
                self.parameters.append(parameter)
                self.names.append((index, name))
        held = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.index = {id(p): i for i, p in enumerate(self.parameters)}
        for p in held:
            if id(p) not in self.index:
                self.index[id(p)] = len(self.parameters)
                self.parameters.append(p)
                self.names.append((-1, f"optimizer 0 parameter {self.index[id(p)]}"))
        self.held = [self.index[id(p)] for p in held]
        self.modules = [(name, m) for name, m in self.model.named_modules() if name and not list(m.children())]
        self.reached: set[int] = set()
        self.classes: int | None = None
        self.shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self.prediction_op = ""

    def _put(self, name: str, owner: Any, columns: list[Any], step: int, row: list[float]) -> None:
        _, steps, values = self.rows.setdefault((name, owner), (columns, [], []))
        steps.append(step)
        values.append(row)

    def _step(self, step: int) -> None:
        sampled = step <= 5 or step % SAMPLED == 0
        if self.zero_grad:
            self.optimizer.zero_grad()
        stale = float(any(p.grad is not None and bool((p.grad != 0).any()) for p in self._held()))
        for part in range(self.accumulate):
            self._backward(step * self.accumulate + part, step, sampled)
        if self.clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(self._held(), self.clip)
            self._put("clip", ("clip", 0), ["norm_before"], step, [norm.item()])
        norms = [-1.0 if p.grad is None else _norm(p.grad) for p in self._held()]
        self._put("gradient_norm", ("optimizer", 0), self.held, step, norms)
        before = [p.detach().clone() for p in self._held()] if sampled else []
        self.optimizer.step()
        self._put(
            "step", ("optimizer", 0), ["backward_calls", "stale", "seconds"], step, [self.accumulate, stale, 0.01]
        )
        if step == 1:
            rates = [group["lr"] for group in self.optimizer.param_groups]
            self._put("learning_rate", ("optimizer", 0), list(range(len(rates))), step, rates)
        if sampled:
            weights = [_norm(b) for b in before]
            updates = [_norm(p.detach() - b) for p, b in zip(self._held(), before, strict=True)]
            ratios = [u / w if w > 0 else math.nan for u, w in zip(updates, weights, strict=True)]
            self._put("weight_norm", ("optimizer", 0), self.held, step, weights)
            self._put("update_ratio", ("optimizer", 0), self.held, step, ratios)

    def _backward(self, call: int, step: int, sampled: bool) -> None:
        x, y = self.batches(call)
        hooks, seen = self._watch() if sampled else ([], {})
        prediction = self.model(x)
        for hook in hooks:
            hook.remove()
        loss = getattr(F, self.loss)(prediction, y)
        if not self.reached:
            self._reach(loss)
            self.shapes = (tuple(prediction.shape), tuple(y.shape))
            self.prediction_op = type(prediction.grad_fn).__name__ if prediction.grad_fn else ""
            self.classes = prediction.shape[1] if self.loss in {"cross_entropy", "nll_loss"} else None
        value = loss.item()
        self._put("train/loss", ("loss", 0), ["loss"], step, [value])
        self._put("train/function_loss", ("loss", 1), ["loss"], step, [value])
        if sampled:
            self._sample(step, x, y, prediction.detach(), seen)
        if not math.isfinite(value) and not self.events:
            self.events.append(Event(step, 0.1 * step, "non-finite", {"what": "loss", "value": str(value), "loss": 0}))
        if loss.requires_grad:
            loss.backward()

    def _sample(
        self, step: int, x: torch.Tensor, y: torch.Tensor, prediction: torch.Tensor, seen: dict[str, Any]
    ) -> None:
        columns = ["mean", "std", "min", "max", "nonfinite", "constant_features"]
        flat = x.float().flatten(1)
        finite = flat[torch.isfinite(flat)]
        constant = float((flat.std(0) == 0).float().mean()) if len(flat) > 1 else 0.0
        bad = float(flat.numel() - finite.numel())
        if x.is_floating_point():
            self._put("input", ("model", 0), columns, step, [*_moments(finite), bad, constant])
        columns = ["mean", "std", "min", "max", "batch_std"]
        self._put("prediction", ("loss", 1), columns, step, [*_moments(prediction), _batch_std(prediction)])
        self._put("target", ("loss", 1), columns, step, [*_moments(y.float()), _batch_std(y.float())])
        if self.classes:
            accuracy = (prediction.argmax(1) == y).float().mean().item()
            self._put("train/accuracy", ("loss", 1), ["accuracy"], step, [accuracy])
            ids = list(range(self.classes))
            self._put(
                "target_classes", ("loss", 1), ids, step, torch.bincount(y.flatten(), minlength=len(ids)).tolist()
            )
            counts = torch.bincount(prediction.argmax(1).flatten(), minlength=len(ids)).tolist()
            self._put("predicted_classes", ("loss", 1), ids, step, counts)
        for name in ("mean", "std", "zero", "dead", "saturated", "nonfinite"):
            row = [seen[module][name] if module in seen else math.nan for module, _ in self.modules]
            self._put(f"activation_{name}", ("model", 0), list(range(len(self.modules))), step, row)

    def _watch(self) -> tuple[list[Any], dict[str, dict[str, float]]]:
        seen: dict[str, dict[str, float]] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, _: Any, output: Any) -> None:
                y = output[0] if isinstance(output, tuple) else output
                seen[name] = _statistics(module, y.detach().float())

            return hook

        return [module.register_forward_hook(keep(name)) for name, module in self.modules], seen

    def _reach(self, loss: torch.Tensor) -> None:
        open_nodes, done = [loss.grad_fn], set()
        while open_nodes:
            node = open_nodes.pop()
            if node is None or node in done:
                continue
            done.add(node)
            variable = getattr(node, "variable", None)
            if variable is not None and id(variable) in self.index:
                self.reached.add(self.index[id(variable)])
            open_nodes.extend(next_node for next_node, _ in node.next_functions)

    def _validate(self, step: int) -> None:
        self.model.eval()
        losses, sizes, right = [], [], []
        with torch.no_grad():
            for x, y in self.validation:
                prediction = self.model(x)
                losses.append(getattr(F, self.loss)(prediction, y).item())
                sizes.append(len(x))
                right.append((prediction.argmax(1) == y).sum().item() if self.classes else math.nan)
        self.model.train()
        mean = sum(a * b for a, b in zip(losses, sizes, strict=True)) / sum(sizes)
        deviation = float(torch.tensor(losses).std()) if len(losses) > 1 else 0.0
        row = [mean, deviation, float(len(losses)), float(sum(sizes)), sum(right) / sum(sizes)]
        self._put("val/loss", ("loss", 2), ["loss", "deviation", "batches", "examples", "accuracy"], step, row)

    def _held(self) -> list[torch.Tensor]:
        return [self.parameters[i] for i in self.held]

    def _entities(self) -> list[Any]:
        group_of: dict[int, tuple[int, ...]] = defaultdict(tuple, dict.fromkeys(self.held, (0,)))
        owners = {
            f"{name}.{p}": m for name, m in self.model.named_modules() for p, _ in m.named_parameters(recurse=False)
        }
        first = {"id": 1, "function": self.loss, "classes": self.classes, "prediction_shape": self.shapes[0]}
        first |= {"target_shape": self.shapes[1], "prediction_op": self.prediction_op, "site": site(30)}
        groups = [
            {
                "learning_rate": g["lr"],
                "weight_decay": g.get("weight_decay", 0.0),
                "momentum": g.get("momentum", 0.0),
                "parameters": [self.index[id(p)] for p in g["params"]],
            }
            for g in self.optimizer.param_groups
        ]
        models = [
            Model(
                id=i, name=f"Net{i}", class_name="Net", parameters=sum(p.numel() for p in m.parameters()), site=site(5)
            )
            for i, m in enumerate((self.model, *self.other_models))
        ]
        return [
            *models,
            *(
                Parameter(
                    id=i,
                    model=self.names[i][0] if self.names[i][0] >= 0 else None,
                    name=self.names[i][1],
                    shape=tuple(p.shape),
                    dtype="float32",
                    trainable=p.requires_grad,
                    module_class=type(owners[self.names[i][1]]).__name__ if self.names[i][1] in owners else "",
                    optimizers=group_of[i],
                    reached=i in self.reached,
                )
                for i, p in enumerate(self.parameters)
            ),
            *(
                Module(
                    id=i,
                    model=0,
                    name=name,
                    class_name=type(m).__name__,
                    parameters=sum(p.numel() for p in m.parameters()),
                )
                for i, (name, m) in enumerate(self.modules)
            ),
            Optimizer(
                id=0,
                class_name=type(self.optimizer).__name__,
                groups=tuple(groups),
                site=site(12),
                step_site=site(33),
                zero_grad_site=site(28) if self.zero_grad else None,
            ),
            Loss(id=0, source="backward", function=self.loss, site=site(31), models=(0,)),
            Loss(source="function", **first),  # type: ignore[arg-type]
            Loss(id=2, source="function", function=self.loss, classes=self.classes, site=site(40)),
            *(
                [Clip(id=0, function="clip_grad_norm_", threshold=self.clip, site=site(32))]
                if self.clip is not None
                else []
            ),
        ]


def _norm(x: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(x))


def _moments(x: torch.Tensor) -> list[float]:
    if not x.numel():
        return [math.nan] * 4
    return [float(x.mean()), float(x.std(unbiased=False)), float(x.min()), float(x.max())]


def _batch_std(x: torch.Tensor) -> float:
    return float(x.float().std(0, unbiased=False).mean()) if len(x) > 1 else math.nan


def _statistics(module: nn.Module, y: torch.Tensor) -> dict[str, float]:
    saturated = math.nan
    if isinstance(module, nn.Tanh):
        saturated = float((y.abs() > 0.99).float().mean())
    if isinstance(module, nn.Sigmoid):
        saturated = float(((y < 0.01) | (y > 0.99)).float().mean())
    units = (y.transpose(1, -1) if y.ndim > 2 else y).reshape(-1, y.shape[1 if y.ndim > 2 else -1])
    rectifies = isinstance(module, (nn.ReLU, nn.LeakyReLU)) and len(units) >= 8
    return {
        "mean": float(y.mean()),
        "std": float(y.std(unbiased=False)),
        "zero": float((y == 0).float().mean()),
        "dead": float((units <= 0).all(0).float().mean()) if rectifies else math.nan,
        "saturated": saturated,
        "nonfinite": float((~torch.isfinite(y)).sum()),
    }
