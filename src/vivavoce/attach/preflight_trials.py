"""Trials on the twin of a training step: how its loss goes at other learning rates, on one batch, in other modes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vivavoce.attach.budget import now
from vivavoce.attach.rehearsal import Rehearsal
from vivavoce.record.run import Run

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

OVERFIT_STEPS = 200
FEWEST_OVERFIT_STEPS = 40  # below it the check says nothing
OVERFIT_SECONDS = 15.0
RANGE_PER_DECADE = 2  # learning rates a power of ten
LEAST_RANGE = (1e-2, 1.0)  # learning rates that the range test reaches at least, below and above
RANGE_MARGIN = (100.0, 10.0)  # factors below and above the script's own rate that it reaches at least
RANGE_STEPS = 8  # steps at each rate: enough for momentum to build up
RANGE_SECONDS = 15.0
USEFUL = 0.1  # fraction of the best rate's descent: rates that reach it form the range
SETTLING = 120  # forward passes that let running statistics settle: (1 − 0.1)^120 = 3e-6 with the usual momentum
SETTLING_SECONDS = 5.0
LAYER_MISMATCH = 0.3  # relative difference of a layer's outputs in the two modes that names the layer
BY_HEART = 0.2  # fraction of the first loss on one batch: below it the batch counts as learned


class NotCheckedError(Exception):
    """A check could not be made; the message says why, as the end of a sentence after "because"."""


@dataclass(frozen=True)
class Fit:
    """A training on one batch: the factor on the script's learning rate, and how the loss went."""

    factor: float
    rate: float
    start: float
    best: float
    steps: int

    @property
    def left(self) -> float:
        """The fraction of the first loss that is left; 1 where the loss is not positive."""
        return self.best / self.start if self.start > 0 and math.isfinite(self.best) else 1.0

    @property
    def fell(self) -> bool:
        """The loss fell by more than a hundredth of itself."""
        return self.best < self.start - 0.01 * abs(self.start)


@dataclass(frozen=True)
class Range:
    """A learning-rate range test: the loss on one batch after a few steps at each rate, all from the same weights."""

    own: float
    start: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    def at(self, rate: float) -> float:
        """The loss that a rate led to."""
        return self.losses[self.rates.index(rate)]

    @property
    def descents(self) -> list[float]:
        """How far each rate lowered the loss; 0 where it did not."""
        return [max(0.0, self.start - loss) if math.isfinite(loss) else 0.0 for loss in self.losses]

    @property
    def useful(self) -> list[float]:
        """The rates that reach a fair part of the best descent; none where no rate lowers the loss."""
        most = max(self.descents)
        if most <= 1e-4 * max(abs(self.start), 1e-12):
            return []
        return [r for r, d in zip(self.rates, self.descents, strict=True) if d >= USEFUL * most]

    @property
    def low(self) -> float:
        """The lowest useful rate; NaN where there is none."""
        return min(self.useful, default=math.nan)

    @property
    def high(self) -> float:
        """The highest useful rate."""
        return max(self.useful, default=math.nan)

    @property
    def best(self) -> float:
        """The rate with the greatest descent."""
        return self.rates[max(range(len(self.rates)), key=self.descents.__getitem__)]


class Trials:
    """Trains the twin of a step on that step's batch, again and again from the same weights."""

    def __init__(self, session: Session, rehearsal: Rehearsal, calls: int) -> None:
        self.session = session
        self.rehearsal = rehearsal
        self.calls = calls  # backward calls a step
        self._modes = [(m, m.training) for root in self.rehearsal.twin.roots for m in root.modules()]
        self._clip = self._clipping()
        self._fits: list[Fit] | None = None
        self._range: Range | None = None

    def _clipping(self) -> float | None:
        clips = [c for c in Run(self.session.recorder.source()).clips.values() if c.function == "clip_grad_norm_"]
        return clips[-1].threshold if clips and clips[-1].norm_type == 2.0 and not clips[-1].after_step else None

    def reset(self, dropout: bool = False) -> None:
        """The weights, modes and random numbers of the step itself, with or without its dropout."""
        self.rehearsal.twin.dropout(dropout)
        for module, training in self._modes:
            module.training = training
        self.rehearsal.twin.restore()
        self.rehearsal.random.restore()

    def copy_of(self, id: int) -> Tensor | None:
        """The twin's copy of a parameter."""
        tensor = self.session.registry.tensor(id)
        return None if tensor is None else self.rehearsal.twin.copied(tensor)

    def loss(self, change: Callable[[Tensor], Tensor] | None = None, dropout: bool = False) -> float:
        """The loss of the step's batch on the step's weights."""
        self.reset(dropout)
        with torch.no_grad():
            return float(self.rehearsal.loss(change))

    def descend(self, factor: float, steps: int, deadline: float) -> Iterator[float]:
        """The losses before each of some steps of fresh optimizers, learning rate times `factor`; then the last one."""
        self.reset()
        optimizers = self._optimizers(factor)

        def closure() -> Tensor:
            for optimizer, _ in optimizers:
                optimizer.zero_grad()
            loss = self.rehearsal.loss() * self.calls
            loss.backward()  # type: ignore[no-untyped-call]
            if self._clip is not None:
                parameters = [p for optimizer, _ in optimizers for g in optimizer.param_groups for p in g["params"]]
                nn.utils.clip_grad_norm_(parameters, self._clip)
            return loss.detach()

        for _ in range(steps):
            if optimizers[0][1]:
                yield float(optimizers[0][0].step(closure)) / self.calls
            else:
                yield float(closure()) / self.calls
                for optimizer, _ in optimizers:
                    optimizer.step()
            if now() > deadline:
                break
        with torch.no_grad():
            yield float(self.rehearsal.loss())

    def _optimizers(self, factor: float) -> list[tuple[Any, bool]]:
        made = []
        for state in self.session.optimizers.known():
            original = state.optimizer()
            if original is not None:
                fresh = fresh_optimizer(original, self.rehearsal.twin.copied, factor)
                if fresh is not None:
                    made.append((fresh, state.closure))
        if not made:
            raise NotCheckedError("no optimizer that can be made afresh holds the model's parameters")
        return made

    def own_rate(self) -> float:
        """The script's learning rate: the largest of the groups, the goal of a warm-up included."""
        optimizers = [o for s in self.session.optimizers.known() if (o := s.optimizer()) is not None]
        rates = [r for optimizer in optimizers for group in optimizer.param_groups if (r := rate_of(group)) is not None]
        if not rates or max(rates) <= 0:
            raise NotCheckedError("no optimizer has a learning rate above zero")
        return max(rates)

    def _seconds(self) -> float:
        started = now()
        list(self.descend(1.0, 1, math.inf))
        return now() - started

    def range(self) -> Range:
        """The range test, made once."""
        if self._range is None:
            own, start, seconds = self.own_rate(), self.loss(), self._seconds()
            factors = _factors(own)
            if len(factors) * RANGE_STEPS * seconds > RANGE_SECONDS:
                raise NotCheckedError(f"one step on a copy takes {seconds:.2g} s")
            losses = tuple(self._end(factor) for factor in factors)
            self._range = Range(own, start, tuple(own * factor for factor in factors), losses)
        return self._range

    def _end(self, factor: float) -> float:
        loss = math.nan
        for loss in self.descend(factor, RANGE_STEPS, math.inf):
            if not math.isfinite(loss):
                return math.inf
        return loss

    def fits(self) -> list[Fit]:
        """Trainings on one batch: at the script's learning rate, then, where that learned little, at the best rate."""
        if self._fits is None:
            fits = [self._fit(1.0)]
            if fits[0].left > BY_HEART:
                own = self.own_rate()
                best = self.range().best
                if best != own:
                    fits.append(self._fit(best / own))
            self._fits = fits
        return self._fits

    def _fit(self, factor: float) -> Fit:
        losses = list(self.descend(factor, OVERFIT_STEPS, now() + OVERFIT_SECONDS))
        if len(losses) <= FEWEST_OVERFIT_STEPS:
            raise NotCheckedError(f"only {len(losses) - 1} steps on a copy fit into {OVERFIT_SECONDS:.0f} s")
        finite = [loss for loss in losses[1:] if math.isfinite(loss)]
        return Fit(factor, factor * self.own_rate(), losses[0], min(finite, default=math.inf), len(losses) - 1)

    def trained(self, fit: Fit) -> Callable[[Callable[[Tensor], Tensor] | None], float]:
        """The twin trained on its batch once more; the result gives its loss, on changed inputs if wanted."""
        list(self.descend(fit.factor, fit.steps, now() + OVERFIT_SECONDS))
        weights = [(tensor, tensor.detach().clone()) for tensor in self.rehearsal.twin.tensors()]

        def loss(change: Callable[[Tensor], Tensor] | None) -> float:
            with torch.no_grad():
                for tensor, value in weights:
                    tensor.copy_(value)
                self.rehearsal.random.restore()
                return float(self.rehearsal.loss(change))

        return loss

    def parity(self) -> tuple[float, float, str | None]:
        """The loss in training mode without dropout and in evaluation mode, and the layer where the outputs part.

        Running statistics are first given `SETTLING` passes over the batch to settle.
        """
        twin = self.rehearsal.twin
        self.reset()
        deadline = now() + SETTLING_SECONDS
        with torch.no_grad():
            for _ in range(SETTLING):
                self.rehearsal.loss()
                if now() > deadline:
                    raise NotCheckedError(f"{SETTLING} passes take more than {SETTLING_SECONDS:.0f} s")
            train, first = self._outputs()
            twin.train(False)
            evaluated, second = self._outputs()
        return train, evaluated, _parting(first, second)

    def _outputs(self) -> tuple[float, dict[str, Tensor]]:
        """The loss, and the first output of every layer without children."""
        outputs: dict[str, Tensor] = {}
        handles = []
        for root in self.rehearsal.twin.roots:
            for name, module in root.named_modules():
                if next(module.children(), None) is None:
                    handles.append(module.register_forward_hook(_Keeper(outputs, name)))
        try:
            self.rehearsal.random.restore()
            return float(self.rehearsal.loss()), outputs
        finally:
            for handle in handles:
                handle.remove()


class _Keeper:
    """A hook that keeps a layer's first output."""

    def __init__(self, outputs: dict[str, Tensor], name: str) -> None:
        self.outputs, self.name = outputs, name

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            self.outputs.setdefault(self.name, output.detach().clone())


def _factors(own: float) -> list[float]:
    """The factors on the script's learning rate that a range test tries, ascending, 1 among them."""
    down = math.log10(own / min(own / RANGE_MARGIN[0], LEAST_RANGE[0]))
    up = math.log10(max(own * RANGE_MARGIN[1], LEAST_RANGE[1]) / own)
    indices = range(-math.ceil(down * RANGE_PER_DECADE), math.ceil(up * RANGE_PER_DECADE) + 1)
    return [10 ** (index / RANGE_PER_DECADE) for index in indices]


def fresh_optimizer(original: Any, copied: Callable[[Tensor], Tensor | None], factor: float) -> Any | None:
    """An optimizer of the same class and settings for the copies of its parameters; None where it holds none.

    The learning rate of each group is the script's, or what its warm-up leads to, times `factor`.
    """
    groups = []
    for group in original.param_groups:
        copies = [copy for p in group["params"] if (copy := copied(p)) is not None]
        if copies:
            entry = {key: value for key, value in group.items() if key not in ("params", "param_names")}
            rate = rate_of(group)
            if rate is not None:
                entry["lr"] = rate * factor
            groups.append({"params": copies, **entry})
    if not groups:
        return None
    known = inspect.signature(type(original).__init__).parameters
    settings = {key: value for key, value in original.defaults.items() if key in known}
    try:
        return type(original)(groups, **settings)
    except Exception as error:
        name = type(original).__name__
        raise NotCheckedError(f"{name} cannot be made afresh ({type(error).__name__}: {error})") from None


def rate_of(group: dict[str, Any]) -> float | None:
    """The learning rate of a parameter group, or the one that a schedule started from or leads to, if that is higher."""
    rates = [group.get(key) for key in ("lr", "initial_lr", "max_lr")]
    found = [float(rate) for rate in rates if isinstance(rate, (int, float, Tensor))]
    return max(found, default=None)


def emptied(value: Tensor) -> Tensor:
    """Inputs that say nothing: zeros, or indices in another order, all of them valid."""
    if value.is_floating_point() or value.is_complex():
        return torch.zeros_like(value)
    return value.reshape(-1)[torch.randperm(value.numel(), device=value.device)].reshape(value.shape)


def _parting(first: dict[str, Tensor], second: dict[str, Tensor]) -> str | None:
    """The first layer whose outputs differ by more than `LAYER_MISMATCH` of their norm."""
    for name, value in first.items():
        other = second.get(name)
        if other is not None and other.shape == value.shape:
            size = float(value.float().norm())
            if float((value.float() - other.float()).norm()) > LAYER_MISMATCH * max(size, 1e-12):
                return name
    return None
