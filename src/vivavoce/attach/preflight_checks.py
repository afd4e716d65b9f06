"""The checks of the preflight: what can be known of a training after a few steps, tried out on copies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vivavoce.attach.preflight_trials import BY_HEART, OVERFIT_STEPS, RANGE_STEPS, NotCheckedError, Trials, emptied
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
HALF = 0.5  # fraction of the first loss: contrastive losses, label noise and small rates may leave as much
NOTHING_LEARNED = 0.9  # fraction of the first loss: above it nothing was learned of one batch
ABOVE_RANGE = 2.0  # times the highest useful rate: the ladder has a rung every factor of 3
DIVERGED = 1.25  # times the loss at the start, after `RANGE_STEPS` steps
MISMATCH = 1.25  # loss in evaluation mode over loss in training mode, without dropout
MISMATCH_SHARE = 0.1  # fraction of the reference loss that the two must differ by
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


class Examination:
    """All checks over what a preflight has collected."""

    def __init__(self, preflight: Preflight) -> None:
        self.preflight = preflight
        self.session = preflight.session
        self.run = Run(self.session.recorder.source())
        self.site = main_function(self.run)
        self.chance = chance_level(self.run, self.site) if self.site is not None else None
        steps = preflight.rehearsals
        self.trials = {step: Trials(self.session, rehearsal, preflight.calls) for step, rehearsal in steps.items()}

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
            for trials in self.trials.values():
                trials.reset()

    def _tried(self) -> Trials:
        """The latest step that can be repeated."""
        if not self.trials:
            raise NotCheckedError(self.preflight.obstacle)
        return self.trials[max(self.trials)]

    def _alone(self) -> Trials:
        """The first step that can be repeated, where one loss is made smaller and nobody plays against it.

        The first: later weights may have suffered from what is to be found out.
        """
        if min(len(self.run.optimizers), len(self.session.backward.sites)) > 1:
            raise NotCheckedError("several losses are trained against each other: one of them alone says little")
        self._tried()
        return self.trials[min(self.trials)]

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
        if own > ABOVE_RANGE * found.high:
            why = f"{place}: {RANGE_STEPS} steps at it hardly lower the loss on one batch"
            return Check(name, "suspicious", why, "learning-rate-too-high", numbers=values)
        if own < found.low and self._crawls():
            why = (
                f"{OVERFIT_STEPS} steps at {own:.2g} hardly lower the loss on one batch, at {best:.2g} they do; {place}"
            )
            return Check(name, "suspicious", why, "learning-rate-too-low", numbers=values)
        return Check(name, "ok", place, numbers=values)

    def _crawls(self) -> bool:
        """The script's learning rate learns next to nothing of one batch, the best rate most of it."""
        fits = self._alone().fits()
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

    def _plain_loss(self, trials: Trials) -> bool:
        """The loss is that of the loss function, of known floor, with nothing added."""
        series = self.run.series("train/function_loss", ("loss", self.site.id)) if self.site else None
        smoothed = any(
            node.kwargs.get("label_smoothing") for node in trials.rehearsal.nodes if node.function is not None
        )
        if series is None or not len(series) or smoothed:
            return False
        now = series.where(series.steps == min(self.trials))
        value = trials.rehearsal.value
        return trials.calls > 1 or bool((abs(now.mean - value) <= PLAIN * abs(value)).any())

    def _input(self) -> Check:
        trials, name = self._alone(), "uses-its-input"
        real, empty = trials.loss(), trials.loss(emptied)
        trained = trials.trained(min(trials.fits(), key=lambda f: f.left))
        real_after, empty_after = trained(None), trained(emptied)
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
