"""The checks of the preflight: what can be known of a training after a few steps, tried out on copies."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vivavoce.attach.budget import now
from vivavoce.attach.rehearsal import Rehearsal
from vivavoce.examine.progress import BINARY, CLASSIFICATION, FLOOR_ZERO, SQUARED, chance_level, main_function
from vivavoce.examine.reading import some
from vivavoce.record.entities import Parameter
from vivavoce.record.run import Run

if TYPE_CHECKING:
    from vivavoce.attach.preflight import Preflight

Status = Literal["ok", "suspicious", "failed", "unchecked"]

LARGE_FIRST_LOSS = 3.0  # times chance level: above it the first logits are far too large
ABSURD_FIRST_LOSS = 10.0  # times chance level; of squared errors, which depend on units, no more is asked
TRIFLING_SHARE = 0.01  # of the scalars: a bias that cancels in the loss is no fault
BY_HEART = 0.2  # fraction of the first loss on one batch: below it the batch counts as learned
HALF = 0.5  # fraction of the first loss: contrastive losses, label noise and small rates may leave as much
NOTHING_LEARNED = 0.9  # fraction of the first loss: above it nothing was learned of one batch
OVERFIT_STEPS = 200
FEWEST_OVERFIT_STEPS = 40  # below it the check says nothing
OVERFIT_SECONDS = 15.0
RANGE_DECADES = 3  # powers of ten above and below the script's own learning rate
RANGE_PER_DECADE = 2
RANGE_STEPS = 8  # steps at each rate: enough for momentum to build up
RANGE_SECONDS = 15.0
USEFUL = 0.1  # fraction of the best rate's descent: rates that reach it form the range
DIVERGED = 1.25  # times the loss at the start, after `RANGE_STEPS` steps
SETTLING = 120  # forward passes that let running statistics settle: (1 − 0.1)^120 = 3e-6 with the usual momentum
SETTLING_SECONDS = 5.0
MISMATCH = 1.25  # loss in evaluation mode over loss in training mode, without dropout
MISMATCH_SHARE = 0.1  # fraction of the reference loss that the two must differ by
LAYER_MISMATCH = 0.3  # relative difference of a layer's outputs in the two modes that names the layer
INSENSITIVE = 0.02  # relative change of the loss below which the inputs do not matter
PLAIN = 1e-4  # relative difference up to which the loss is that of the loss function, with nothing added
UNREACHED_SHARE = 0.1  # fraction of the trainable scalars: fewer left out may be meant


@dataclass(frozen=True)
class Check:
    """The result of one check. `why` is a sentence; `numbers` what it rests on; `slug` the finding that it amounts to."""

    name: str
    status: Status
    why: str
    slug: str | None = None
    layer: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        from vivavoce.examine.finding import json_safe

        data: dict[str, Any] = json_safe(asdict(self))
        return data


class NotCheckedError(Exception):
    """A check could not be made; the message says why, as the end of a sentence after "because"."""


class Examination:
    """All checks over what a preflight has collected."""

    def __init__(self, preflight: Preflight) -> None:
        self.preflight = preflight
        self.session = preflight.session
        self.run = Run(self.session.recorder.source())
        self.site = main_function(self.run)
        self.chance = chance_level(self.run, self.site) if self.site is not None else None
        self.trials = _Trials(preflight) if preflight.rehearsal is not None else None

    def checks(self) -> list[Check]:
        """Make all of them, in the order of the report. None raises."""
        made: tuple[tuple[str, Callable[[], Check]], ...] = (
            ("first-loss", self._first_loss),
            ("parameters-in-optimizer", self._in_optimizer),
            ("gradients-arrive", self._gradients),
            ("parameters-move", self._movement),
            ("units-differ", self._symmetry),
            ("learning-rate", self._learning_rate),
            ("overfits-one-batch", self._overfit),
            ("uses-its-input", self._input),
            ("train-eval-parity", self._parity),
        )
        return [self._made(name, check) for name, check in made]

    def _made(self, name: str, check: Callable[[], Check]) -> Check:
        try:
            return check()
        except NotCheckedError as error:
            return Check(name, "unchecked", str(error))
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            return Check(name, "unchecked", f"trying it out failed ({type(error).__name__}: {text})")
        finally:
            if self.trials is not None:
                self.trials.reset()

    def _tried(self) -> _Trials:
        if self.trials is None:
            raise NotCheckedError(self.preflight.obstacle)
        return self.trials

    def _alone(self) -> _Trials:
        """The trials, where one loss is made smaller and nobody plays against it."""
        if min(len(self.run.optimizers), len(self.session.backward.sites)) > 1:
            raise NotCheckedError("several losses are trained against each other: one of them alone says little")
        return self._tried()

    # what was recorded ------------------------------------------------------------------------------------------------

    def _first_loss(self) -> Check:
        site, name = self.site, "first-loss"
        if site is None:
            raise NotCheckedError("the loss was computed by hand, so its chance level is not known")
        series = self.run.series("train/function_loss", ("loss", site.id))
        level, words = self._level()
        if not len(series):
            raise NotCheckedError("no loss was recorded")
        first = float(series.mean[0])
        ratio = first / level
        values = {"first loss": first, "chance level": level, "ratio": ratio}
        if not math.isfinite(first):
            return Check(name, "failed", f"the first loss is {first}", "non-finite", numbers=values)
        said = f"the first loss is {first:.4g}, {ratio:.2g} × the chance level {level:.4g} ({words})"
        squared = site.function in SQUARED
        if ratio > (ABSURD_FIRST_LOSS if squared else LARGE_FIRST_LOSS):
            absurd = ratio > ABSURD_FIRST_LOSS and not squared
            status: Status = "failed" if absurd else "suspicious"
            why = f"{said}: the first outputs are far too large, or inputs and targets are not scaled"
            return Check(name, status, why, "activation-scale" if absurd else None, numbers=values)
        if ratio < 1 / LARGE_FIRST_LOSS:
            said += ": a network that was trained before, or one that is shown the answer"
        return Check(name, "ok", said, numbers=values)

    def _level(self) -> tuple[float, str]:
        site = self.site
        assert site is not None
        if site.function in CLASSIFICATION and site.classes and site.classes > 1 and site.reduction == "mean":
            return math.log(site.classes), f"ln {site.classes}"
        if site.function in BINARY and site.reduction == "mean":
            return math.log(2), "ln 2"
        if self.chance is None or site.function not in SQUARED:
            raise NotCheckedError(f"the chance level of {site.function} is not known here")
        mean = self.run.series("target", ("loss", site.id), "mean").finite.mean
        offset = float(np.median(mean**2)) if len(mean) else 0.0
        return self.chance + offset, "mean square of the targets"

    def _trainable(self) -> list[Parameter]:
        known = [self.run.parameters[e.id] for e in self.session.registry.known() if e.id in self.run.parameters]
        found = [p for p in known if p.trainable and p.numel]
        if not found:
            raise NotCheckedError("no trainable parameters were found")
        return found

    def _in_optimizer(self) -> Check:
        trainable = self._trainable()
        if self.session.by_hand is not None:
            raise NotCheckedError("the script updates its weights without an optimizer")
        left = [p for p in trainable if not p.optimizers and (p.reached or p.id in self.preflight.fed)]
        return _left_out(
            "parameters-in-optimizer",
            trainable,
            left,
            "are in an optimizer",
            "receive gradients and are in no optimizer",
            "parameters-not-optimized",
        )

    def _gradients(self) -> Check:
        trainable = [p for p in self._trainable() if p.optimizers or self.session.by_hand is not None]
        left = [p for p in trainable if p.id not in self.preflight.fed]
        if trainable and not self.preflight.fed:
            raise NotCheckedError("gradients were cleared before they could be looked at")
        said = "never had a gradient other than zero"
        return _left_out("gradients-arrive", trainable, left, "have received a gradient", said, "no-gradient")

    def _movement(self) -> Check:
        before, registry = self.preflight.before, self.session.registry
        trainable = [p for p in self._trainable() if p.id in before and p.id in self.preflight.fed and p.optimizers]
        still = []
        for parameter in trainable:
            tensor = registry.tensor(parameter.id)
            if tensor is not None and torch.equal(tensor.detach(), before[parameter.id]):
                still.append(parameter)
        everything = bool(trainable) and len(still) == len(trainable)
        slug = "learning-rate-too-low" if everything else None
        if not trainable:
            raise NotCheckedError("no parameter of an optimizer had a gradient")
        said = "have gradients and did not change at all"
        return _left_out("parameters-move", trainable, still, "have moved", said, slug)

    # what is tried out ------------------------------------------------------------------------------------------------

    def _symmetry(self) -> Check:
        trials = self._tried()
        trials.rehearsal.loss().backward()  # type: ignore[no-untyped-call]
        names = {id(t): p.name for p in self._trainable() if (t := trials.copy_of(p.id)) is not None}
        equal = [
            names[id(tensor)]
            for tensor in trials.rehearsal.twin.tensors()
            if id(tensor) in names and tensor.ndim >= 2 and tensor.shape[0] > 1
            if tensor.grad is not None
            and not tensor.grad.is_sparse
            and _rows_equal(tensor)
            and _rows_equal(tensor.grad)
        ]
        if not equal:
            return Check("units-differ", "ok", "the units of every layer have weights or gradients of their own")
        why = f"all units of {some(equal)} have the same weights and the same gradient: they will never differ"
        layer = equal[0].rpartition(".")[0] or equal[0]
        return Check("units-differ", "failed", why, "symmetric-weights", layer, {"weight matrices": float(len(equal))})

    def _learning_rate(self) -> Check:
        trials, name = self._alone(), "learning-rate"
        found = trials.range()
        own, best = found.own, found.best
        values = {"learning rate": own, "from": found.low, "to": found.high, "best": best}
        place = f"useful rates lie between {found.low:.2g} and {found.high:.2g}, the script's is {own:.2g}"
        if not found.useful:
            return Check(
                name,
                "suspicious",
                f"no learning rate from {found.rates[0]:.2g} to {found.rates[-1]:.2g} lowers the loss",
                numbers=values,
            )
        if found.at(own) > DIVERGED * abs(found.start) or not math.isfinite(found.at(own)):
            why = f"{RANGE_STEPS} steps at {own:.2g} raise the loss on one batch from {found.start:.4g} to {found.at(own):.4g}; {place}"
            return Check(name, "failed", why, "learning-rate-too-high", numbers=values)
        if own < found.low and self._crawls():
            why = (
                f"{OVERFIT_STEPS} steps at {own:.2g} hardly lower the loss on one batch, at {best:.2g} they do; {place}"
            )
            return Check(name, "suspicious", why, "learning-rate-too-low", numbers=values)
        return Check(name, "ok", place, numbers=values)

    def _crawls(self) -> bool:
        """The script's learning rate learns next to nothing of one batch, the best rate most of it."""
        fits = self._tried().fits()
        return fits[0].left > NOTHING_LEARNED and fits[-1].left < HALF

    def _overfit(self) -> Check:
        trials, name = self._alone(), "overfits-one-batch"
        fits = trials.fits()
        fit = min(fits, key=lambda f: f.left)
        start, best = fit.start, fit.best
        values = {"first loss": start, "lowest loss": best, "steps": float(fit.steps), "learning rate": fit.rate}
        course = f"the loss on one batch went from {start:.4g} to {best:.4g} in {fit.steps} steps at learning rate {fit.rate:.2g}"
        bounded = self.site is not None and self.site.function in FLOOR_ZERO and self._plain_loss(trials)
        if bounded and self.chance is not None and start <= BY_HEART * self.chance:
            return Check(name, "ok", f"{course}; it was near its floor already", numbers=values)
        if not fit.fell:
            kind = self.site.function if self.site is not None else ""
            slug = "guessing" if kind in CLASSIFICATION | BINARY else "underfitting"
            return Check(name, "failed", f"{course}: not even one batch can be learned", slug, numbers=values)
        if not bounded or fit.left <= HALF or best <= 0:
            return Check(name, "ok", course, numbers=values)
        if fit.left > NOTHING_LEARNED:
            return Check(name, "suspicious", f"{course}: next to nothing of one batch is learned", numbers=values)
        return Check(name, "suspicious", f"{course}: it should come near zero", numbers=values)

    def _plain_loss(self, trials: _Trials) -> bool:
        """The loss is that of the loss function, of known floor, with nothing added."""
        series = self.run.series("train/function_loss", ("loss", self.site.id)) if self.site else None
        smoothed = any(
            node.kwargs.get("label_smoothing") for node in trials.rehearsal.nodes if node.function is not None
        )
        if series is None or not len(series) or smoothed:
            return False
        now = series.where(series.steps == self.preflight.captured)
        value = trials.rehearsal.value
        return trials.calls > 1 or bool((abs(now.mean - value) <= PLAIN * abs(value)).any())

    def _input(self) -> Check:
        trials, name = self._alone(), "uses-its-input"
        real, empty = trials.loss(), trials.loss(_emptied)
        trained = trials.trained(min(trials.fits(), key=lambda f: f.left))
        real_after, empty_after = trained(None), trained(_emptied)
        scale = max(abs(real), abs(real_after), 1e-12)
        change = abs(empty_after - real_after) / scale
        first = abs(empty - real) / scale
        values = {"loss": real_after, "loss with zeroed inputs": empty_after, "before": real, "before, zeroed": empty}
        said = f"after training on one batch the loss is {real_after:.4g}, with zeroed inputs {empty_after:.4g}"
        if not math.isfinite(change) or not math.isfinite(first):
            raise NotCheckedError("the loss with zeroed inputs is not finite")
        if max(change, first) > INSENSITIVE:
            return Check(name, "ok", said, numbers=values)
        if max(change, first) < 1e-6 and self.chance is not None and real_after > 0.5 * self.chance:
            why = f"{said}: the inputs make no difference to it"
            return Check(name, "failed", why, "guessing", numbers=values)
        return Check(name, "suspicious", f"{said}: the inputs hardly matter", numbers=values)

    def _parity(self) -> Check:
        trials, name = self._tried(), "train-eval-parity"
        modes = [root.training for root in trials.rehearsal.twin.roots]
        mode_layers = [m for root in trials.rehearsal.twin.roots for m in root.modules() if _has_modes(m)]
        if not mode_layers:
            return Check(name, "ok", "no layer of the model differs between training and evaluation mode")
        if modes and not any(modes):
            why = f"the model is trained in evaluation mode: {type(mode_layers[0]).__name__} layers do nothing, or use old statistics"
            return Check(name, "suspicious", why, "train-eval-mismatch")
        dropout = trials.loss(dropout=True)
        train, evaluated, layer = trials.parity()
        values = {"loss in training mode": dropout, "without dropout": train, "loss in evaluation mode": evaluated}
        reference = max(abs(self.chance or 0.0), abs(train), abs(trials.rehearsal.value))
        said = f"the loss on one batch is {train:.4g} in training mode (without dropout) and {evaluated:.4g} in evaluation mode"
        bad = not math.isfinite(evaluated) and math.isfinite(train)
        if bad or (evaluated - train > MISMATCH_SHARE * reference and evaluated > MISMATCH * train):
            where = f"; the outputs part at {layer}" if layer else ""
            return Check(name, "suspicious", said + where, "train-eval-mismatch", layer, values)
        return Check(name, "ok", said, layer=None, numbers=values)


def _left_out(
    name: str, everything: list[Parameter], left: list[Parameter], good: str, bad: str, slug: str | None
) -> Check:
    """The result of a check that every parameter should pass."""
    total, missing = sum(p.numel for p in everything), sum(p.numel for p in left)
    values = {"parameters": float(len(everything)), "left out": float(len(left))}
    if not left:
        return Check(name, "ok", f"all {len(everything)} trainable parameters {good}", numbers=values)
    share = missing / max(1, total)
    status: Status = "failed" if share >= UNREACHED_SHARE else "suspicious" if share >= TRIFLING_SHARE else "ok"
    why = f"{len(left)} of {len(everything)} parameters {bad} ({some([p.name for p in left])}; {share:.0%} of the scalars)"
    layer = left[0].name.rpartition(".")[0] or left[0].name
    return Check(name, status, why, slug if status == "failed" else None, layer, values | {"share": share})


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


class _Trials:
    """Trains the twin of a step on that step's batch, again and again from the same weights."""

    def __init__(self, preflight: Preflight) -> None:
        assert preflight.rehearsal is not None
        self.session = preflight.session
        self.rehearsal: Rehearsal = preflight.rehearsal
        self.calls = preflight.calls
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
        for state in self.session.optimizers.states.values():
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
        optimizers = [o for s in self.session.optimizers.states.values() if (o := s.optimizer()) is not None]
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
            count = RANGE_DECADES * RANGE_PER_DECADE
            if (2 * count + 1) * RANGE_STEPS * seconds > RANGE_SECONDS:
                raise NotCheckedError(f"one step on a copy takes {seconds:.2g} s")
            factors = [10 ** (index / RANGE_PER_DECADE) for index in range(-count, count + 1)]
            losses = [self._end(factor) for factor in factors]
            rates = tuple(own * factor if factor != 1.0 else own for factor in factors)
            self._range = Range(own, start, rates, tuple(losses))
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


def _emptied(value: Tensor) -> Tensor:
    """Inputs that say nothing: zeros, or indices in another order, all of them valid."""
    if value.is_floating_point() or value.is_complex():
        return torch.zeros_like(value)
    return value.reshape(-1)[torch.randperm(value.numel(), device=value.device)].reshape(value.shape)


def _rows_equal(value: Tensor) -> bool:
    rows = value.detach().reshape(value.shape[0], -1)
    return bool(torch.allclose(rows, rows[:1].expand_as(rows), rtol=1e-5, atol=0.0))


def _has_modes(module: nn.Module) -> bool:
    """Whether a layer computes something else in training mode than in evaluation mode."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return True
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return bool(module.dropout)
    return isinstance(module, nn.modules.batchnorm._NormBase) and (
        module.track_running_stats or not isinstance(module, nn.modules.instancenorm._InstanceNorm)
    )


def _parting(first: dict[str, Tensor], second: dict[str, Tensor]) -> str | None:
    """The first layer whose outputs differ by more than `LAYER_MISMATCH` of their norm."""
    for name, value in first.items():
        other = second.get(name)
        if other is not None and other.shape == value.shape:
            size = float(value.float().norm())
            if float((value.float() - other.float()).norm()) > LAYER_MISMATCH * max(size, 1e-12):
                return name
    return None
