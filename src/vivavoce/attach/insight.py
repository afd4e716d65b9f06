"""What only the tensors of a sampled step can tell: equal units, noise in gradients, doubtful labels, stale statistics,
rival networks. Called by the other taps on sampled steps alone; other steps cost nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vivavoce.attach import numbers
from vivavoce.attach.decisions import BINARY_LOSSES, CLASS_INDEX_LOSSES
from vivavoce.attach.rivalry import COLUMNS as ADVERSARY
from vivavoce.attach.rivalry import Rivals
from vivavoce.attach.tap import Tap

if TYPE_CHECKING:
    from vivavoce.attach.optimizer_state import OptimizerState
    from vivavoce.attach.session import Session

ROWS = 128  # units of a weight, examples of a batch that are compared
WIDTH = 1_024  # numbers of each
ROUNDING = 1e-4  # of a weight's largest value: units that differ by less are equal, but for the order of additions
LEAST_EXAMPLES = 4  # examples a batch must have for its spread to mean anything
MOST_ANSWERS = 4_096  # yes or no, of one call that are looked at
AVERAGES = {"exp_avg": "betas", "momentum_buffer": "momentum"}  # running sums of gradients, and what makes them decay


class InsightTap(Tap):
    """Reads what the tensors at hand allow. It patches nothing: the other taps call it."""

    name = "insight"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._rivals = Rivals()
        self._norms: dict[int, dict[int, Tensor]] = {}  # model -> module -> (shift, scale, tracked)
        self._step = 0

    def install(self) -> None:
        """Nothing to put in place."""

    # optimizers -----------------------------------------------------------------------------------------------------

    def before_step(self, state: OptimizerState) -> None:
        """An optimizer is about to take a sampled step."""
        if not self.on:
            return
        try:
            with torch.no_grad():
                self._look_at_rows(state)
                self._look_at_momentum(state)
        except Exception as error:
            self.fail(error)

    def _look_at_rows(self, state: OptimizerState) -> None:
        """The fraction of a weight's units that equal its first one."""
        shares = [
            _equal_units(parameter, by_hand=self._is_by_hand(id))
            for id, parameter in zip(state.ids, state.parameters, strict=True)
        ]
        device = next((share.device for share in shares if share is not None), None)
        if device is None:
            return
        missing = torch.full((), math.nan, device=device)
        row = torch.stack([missing if share is None else share.to(device) for share in shares])
        self._emit("equal_units", ("optimizer", state.id), tuple(state.ids), row)

    def _is_by_hand(self, id: int) -> bool:
        """A matrix that no layer of PyTorch's holds: which of its dimensions are the units is not known."""
        tensor = self.session.registry.tensor(id)
        entity = self.session.registry.parameter(tensor) if tensor is not None else None
        return entity is not None and not hasattr(nn, entity.module_class or " ")

    def _look_at_momentum(self, state: OptimizerState) -> None:
        """The gradient's product with the mean of the gradients before it, and both squares."""
        optimizer = state.optimizer()
        if optimizer is None or state.closure:
            return
        sums = [
            triple
            for group in optimizer.param_groups
            for parameter in group["params"]
            if (triple := _lag_products(parameter, _kept(optimizer, parameter), group, state.steps)) is not None
        ]
        if sums:
            total = torch.stack([triple.to(sums[0].device) for triple in sums]).sum(0)
            columns = ("product", "gradient_square", "mean_square")
            self._emit("gradient_lag", ("optimizer", state.id), columns, total)

    # losses ---------------------------------------------------------------------------------------------------------

    def judged(self, owner: tuple[str, int], function: str, prediction: Tensor, target: Tensor) -> None:
        """A classification loss was called on a sampled step: how the wrong examples are wrong."""
        if not self.on:
            return
        try:
            with torch.no_grad():
                row = _doubt(function, prediction.detach(), target.detach())
            if row is not None:
                self._emit(
                    "label_doubt", owner, ("wrong", "rank", "sure_wrong", "surest_wrong", "examples", "errors"), row
                )
        except Exception as error:
            self.fail(error)

    # modules --------------------------------------------------------------------------------------------------------

    def called(self, model: int, module: nn.Module, root: bool, entity: int, args: Any, output: Any) -> None:
        """A module was called in training on a sampled step."""
        if not self.on:
            return
        self._step = self.session.coming
        with torch.no_grad():
            if not args or not numbers.is_plain(args[0]):
                if root:
                    self._rivals.put_out(model, output)
                return
            if isinstance(module, _BatchNorm):
                row = _norm_state(module, args[0])
                if row is not None:
                    self._norms.setdefault(model, {})[entity] = row
            if root:
                self._rivals.called(model, args[0], output)
                self._rivals.put_out(model, output)

    def put_out(self, model: int, output: Any) -> None:
        """A model as a whole was called without gradients on a sampled step: a generator for its rival, perhaps."""
        if self.on:
            with torch.no_grad():
                self._rivals.put_out(model, output)

    def emit(self) -> None:
        """The sampled step is over."""
        norms, self._norms = self._norms, {}
        for model, rows in norms.items():
            columns = tuple(sorted(rows))
            table = torch.stack([rows[id] for id in columns])
            for index, name in enumerate(("norm_shift", "norm_scale", "norm_forwards")):
                self._emit(name, ("model", model), columns, table[:, index], self._step)
        for model, row in self._rivals.rows().items():
            self._emit("adversary", ("model", model), ADVERSARY, row, self._step)

    def _emit(
        self, name: str, owner: tuple[str, int], columns: tuple[Any, ...], row: Tensor, step: int | None = None
    ) -> None:
        when = self.session.coming if step is None else step
        signal = self.session.recorder.signal(name, owner, columns)
        self.session.readback.read(row, lambda values: signal.append(when, values))


def _equal_units(parameter: Tensor, *, by_hand: bool = False) -> Tensor | None:
    """Fraction of a weight's rows that equal the first one; None for what is no weight of several units.

    Of a matrix `by_hand` the fraction of its columns, if that is more.
    """
    if not numbers.is_plain(parameter) or parameter.ndim < 2 or parameter.shape[0] < 2 or not parameter[0].numel():
        return None
    rows = _equal_rows(parameter.detach())
    columns = _equal_rows(parameter.detach().T) if by_hand and parameter.ndim == 2 and parameter.shape[1] > 1 else rows
    return torch.maximum(rows, columns)


def _equal_rows(weight: Tensor) -> Tensor:
    rows = weight[:ROWS].reshape(min(ROWS, weight.shape[0]), -1)[:, :WIDTH]
    apart = (rows[1:] - rows[:1]).abs().amax(1)
    return (apart <= ROUNDING * rows.abs().max()).float().mean()


def _kept(optimizer: Any, parameter: Tensor) -> Any:
    """What an optimizer keeps for a parameter; None where it is an optimizer of another making."""
    return getattr(optimizer, "state", {}).get(parameter)


def _lag_products(parameter: Tensor, kept: Any, group: dict[str, Any], steps: int) -> Tensor | None:
    """Sums over sampled elements of g·m, g·g and m·m, shape (3,); m is the mean of the gradients before g."""
    if not kept or parameter.grad is None or not numbers.simple(parameter.grad):
        return None
    name = next((name for name in AVERAGES if isinstance(kept.get(name), Tensor)), None)
    if name is None or (name == "momentum_buffer" and group.get("dampening")):
        return None
    weight = _weight_of_sum(name, kept, group, steps)
    if weight <= 0:
        return None
    gradient, mean = numbers.sample(parameter.grad), numbers.sample(kept[name]) / weight
    if gradient.shape != mean.shape:
        return None
    return torch.stack([gradient.dot(mean), gradient.dot(gradient), mean.dot(mean)]).float()


def _weight_of_sum(name: str, kept: Any, group: dict[str, Any], taken: int) -> float:
    """What the weights of all gradients in a running sum add up to; 0 where it cannot be told."""
    if name == "momentum_buffer":
        momentum = float(group.get("momentum", 0.0))
        return (1.0 - momentum**taken) / (1.0 - momentum) if 0 < momentum < 1 else 0.0
    betas, steps = group.get("betas"), kept.get("step")
    if not betas or steps is None or (isinstance(steps, Tensor) and steps.device.type != "cpu"):
        return 0.0
    return 1.0 - float(betas[0]) ** float(steps) if 0 < float(betas[0]) < 1 else 0.0


def _doubt(function: str, prediction: Tensor, target: Tensor) -> Tensor | None:
    """Of a batch: errors, the mean rank of their labels, errors among the surer half and the surest quarter, counts; shape (6,).

    Rank 0 is the runner-up, 1 the least probable class; labels that have nothing to do with the input lie at 0.5.
    """
    if function in BINARY_LOSSES and prediction.shape == target.shape and target.numel() >= LEAST_EXAMPLES:
        return _doubt_of_sides(function, prediction, target)
    if function not in CLASS_INDEX_LOSSES or prediction.ndim != 2 or target.ndim != 1 or target.is_floating_point():
        return None
    classes = prediction.shape[1]
    kept = (target >= 0) & (target < classes)
    scores, labels = prediction[kept].float(), target[kept].long()
    if classes < 2 or len(labels) < LEAST_EXAMPLES:
        return None
    best = scores.topk(2, dim=1).values
    above = (scores > scores.gather(1, labels[:, None])).sum(1).float()
    return _how_wrong(best[:, 0] - best[:, 1], above > 0, (above - 1) / (classes - 2) if classes > 2 else None)


def _doubt_of_sides(function: str, prediction: Tensor, target: Tensor) -> Tensor:
    """The same of yes or no; NaN where some targets are neither."""
    every = -(-target.numel() // MOST_ANSWERS)
    answers, targets = prediction.float().flatten()[::every], target.flatten()[::every]
    side = answers - (0.5 if function == "binary_cross_entropy" else 0.0)
    row = _how_wrong(side.abs(), (side > 0) != (targets == 1))
    return row.where(((targets == 0) | (targets == 1)).all(), math.nan)


def _how_wrong(sureness: Tensor, wrong: Tensor, ranks: Tensor | None = None) -> Tensor:
    """See `_doubt`; everything of shape (examples,)."""
    order = sureness.argsort(descending=True, stable=True)
    half, quarter = (wrong[order[: max(1, len(order) // part)]].float().mean() for part in (2, 4))
    rank = wrong.new_full((), math.nan, dtype=torch.float32) if ranks is None else ranks[wrong].mean()
    errors = wrong.float().sum()
    return torch.stack([errors / len(wrong), rank, half, quarter, torch.full_like(errors, len(wrong)), errors])


def _norm_state(module: _BatchNorm, value: Tensor) -> Tensor | None:
    """How far a batch lies from the statistics that a normalisation keeps for evaluation, shape (3,).

    Root mean square over channels of the shift in units of the kept deviation; factor between the sums of the variances (one by
    one, features that hardly vary would decide); training forwards that the module has counted.
    """
    mean, variance, count = module.running_mean, module.running_var, module.num_batches_tracked
    if mean is None or variance is None or count is None or value.numel() <= mean.numel():
        return None
    dims = tuple(dim for dim in range(value.ndim) if dim != 1)
    batch_variance, batch_mean = torch.var_mean(value.detach().float(), dim=dims, unbiased=False)
    shift = ((batch_mean - mean) ** 2 / (variance + module.eps)).mean().sqrt()
    ratio = ((batch_variance.sum() + module.eps) / (variance.sum() + module.eps)).log().abs().exp()
    return torch.stack([shift, ratio, count.to(shift)])
