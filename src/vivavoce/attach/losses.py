"""Tap on the loss functions of `torch.nn.functional`: predictions and targets, training and validation told apart."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vivavoce.attach import decisions, errors, numbers, wiring
from vivavoce.attach.budget import now
from vivavoce.attach.constant import ConstantLoss
from vivavoce.attach.decisions import BINARY_LOSSES, CLASS_INDEX_LOSSES
from vivavoce.attach.passes import Pass, active_dropout
from vivavoce.attach.sites import CallKey
from vivavoce.attach.tap import Tap
from vivavoce.record.entities import Loss

if TYPE_CHECKING:
    from vivavoce.attach.session import Session
    from vivavoce.record.recorder import SignalWriter

FUNCTIONS = (
    *CLASS_INDEX_LOSSES,
    *BINARY_LOSSES,
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "gaussian_nll_loss",
    "poisson_nll_loss",
    "kl_div",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
    "cosine_embedding_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "ctc_loss",
)
MOST_UNCLAIMED = 64  # calls remembered between two backward calls
MOST_CLASSES = 1000  # classes counted one by one
BATCH_OUTPUTS = 64  # outputs whose spread over the batch is measured
RARE = 0.1  # of the commonest class: where a class seems rarer, samples tell too little and all affordable batches are counted
FEW_CLASSES = 30  # with more, rare ones are the nature of the task


class LossSite:
    """A call of a loss function in the user's code."""

    def __init__(self, entity: Loss) -> None:
        self.entity = entity
        self.validation: Pass | None = None
        self.sampled_at = -1  # step of the last deep sample
        self.accuracy_cost = 0.0
        self.constant_cost = 0.0
        self.count_cost = 0.0
        self.seen: list[float] = []  # targets of each class in the batches counted
        self.rare = False  # a class was hardly one of them; known here, because it is asked at every call
        self.signal: SignalWriter | None = None


class LossTap(Tap):
    """Wraps the loss functions that `torch.nn` modules call too."""

    name = "losses"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.sites: dict[tuple[str, CallKey | None], LossSite] = {}
        self._busy = False
        self._last: tuple[weakref.ref[Tensor] | None, str] = (None, "")
        self._doubtful = False  # a pass goes on in evaluation mode, but with gradients
        self._trains_evaluating = False  # the script trains a model that is in evaluation mode
        self._validating = False
        self._batch = 0  # examples of the largest training batch that was looked at
        self._unclaimed: list[tuple[LossSite, float | Tensor]] = []  # training calls that no backward has followed yet

    def install(self) -> None:
        """Wrap every function of `FUNCTIONS`; TorchScript must see the originals."""
        for function in FUNCTIONS:
            self.patches.wrap(torch.nn.functional, function, functools.partial(self._wrap, function))

    def _wrap(self, function: str, original: Callable[..., Any]) -> Callable[..., Any]:
        session, is_compiling, is_grad_enabled = self.session, torch.compiler.is_compiling, torch.is_grad_enabled
        light = session.light

        def loss_function(*args: Any, **kwargs: Any) -> Any:
            if light.on and is_grad_enabled():
                return original(*args, **kwargs)
            if is_compiling() or self._busy or not self.on or not session.active:
                return original(*args, **kwargs)
            if args and type(args[0]) not in numbers.PLAIN:
                with self.patches.suspended():  # a subclass of Tensor may look functions up by identity
                    return original(*args, **kwargs)
            self._busy = True  # original may come back through __torch_function__
            try:
                result = original(*args, **kwargs)
            finally:
                self._busy = False
            if type(result) is not Tensor or numbers.transformed(result):
                return result
            started = now()
            try:
                self._called(function, args, kwargs, result)
            except Exception as error:
                self.fail(error)
            session.budget.charge(now() - started)
            return result

        return loss_function

    def function_of(self, loss: Tensor) -> str:
        """The loss function that made this very tensor, "" where another operation did."""
        reference, function = self._last
        return function if reference is not None and reference() is loss else ""

    def _called(self, function: str, args: Any, kwargs: Any, result: Tensor) -> None:
        session = self.session
        key = (function, session.sites.key(2))
        site = self.sites.get(key)
        training = result.requires_grad and (self._trains_evaluating or not session.evaluating())
        if training and site is not None and not session.deep:
            self._trained(site, result)
            if site.rare and session.budget.affords(site.count_cost):
                self._count_classes(site, *_given(args, kwargs), kwargs)
            return
        prediction, target = _given(args, kwargs)
        if site is None:
            site = self.sites[key] = self._record(function, prediction, target, kwargs)
        if not training:
            self._doubtful = self._doubtful or result.requires_grad
            self._validated(site, prediction, target, result, args, kwargs)
            return
        self._trained(site, result)
        self._batch = max(self._batch, *_shape(prediction)[:1], 0)
        if session.deep and site.sampled_at != session.coming:
            site.sampled_at = session.coming
            self._sample(site, prediction, target, kwargs)

    def _trained(self, site: LossSite, result: Tensor) -> None:
        self._last = (weakref.ref(result), site.entity.function)
        if len(self._unclaimed) < MOST_UNCLAIMED:
            if result.is_cpu and result.ndim == 0:
                value: float | Tensor = result.item()
            else:
                value = result.detach().mean()
            self._unclaimed.append((site, value))

    def _record(self, function: str, prediction: Any, target: Any, kwargs: Any) -> LossSite:
        entity = Loss(
            id=self.session.take_loss_id(),
            source="function",
            function=function,
            site=self.session.sites.site(3),
            reduction=str(kwargs.get("reduction", "mean")),
            classes=decisions.classes_of(function, prediction),
            prediction_shape=_shape(prediction),
            target_shape=_shape(target),
            target_dtype=str(getattr(target, "dtype", "")).removeprefix("torch."),
            prediction_op=_made_by(prediction),
            precision=_precision(prediction),
            weights=_weights(function, kwargs),
        )
        self.session.recorder.entity(entity)
        return LossSite(entity)

    @property
    def waiting(self) -> bool:
        """Whether the next backward call settles what earlier losses were for."""
        return self._doubtful or self._validating or bool(self._unclaimed)

    def backward_begins(self) -> None:
        """A backward call starts: the losses since the one before it belong to training."""
        if self._doubtful:
            self._settle_doubt()
        if self._validating:
            self.close_passes()
        if not self._unclaimed:
            return
        unclaimed, self._unclaimed = self._unclaimed, []
        step = self.session.coming
        for site, value in unclaimed:
            signal = site.signal
            if signal is None:
                owner = ("loss", site.entity.id)
                signal = site.signal = self.session.recorder.signal("train/function_loss", owner, ("loss",))
            if isinstance(value, Tensor):
                self.session.readback.read(value.reshape(1), functools.partial(signal.append, step))
            else:
                signal.append(step, (value,))

    def _settle_doubt(self) -> None:
        """Losses with gradients in evaluation mode: of a validation pass, or of training that forgot `train()`?"""
        self._doubtful = False
        if self.session.evaluating():
            self._trains_evaluating = True
            for site in self.sites.values():
                site.validation = None

    # validation ---------------------------------------------------------------------------------------------------

    def _validated(
        self, site: LossSite, prediction: Any, target: Any, result: Tensor, args: Any, kwargs: dict[str, Any]
    ) -> None:
        current = site.validation
        if current is None:
            constant = ConstantLoss(site.entity.function, site.entity.classes)
            current = site.validation = Pass(self.session.step, constant)
            if not torch.is_grad_enabled():
                current.dropout = active_dropout(self.session.registry.models.values())
        self._validating = True
        self.session.light.pause()
        shape = _shape(prediction)
        current.sizes.append(shape[0] if shape else 1)
        value = result.detach()
        self.session.readback.read((value if value.ndim == 0 else value.mean()).reshape(1), current.values.extend)
        self.session.rules.validated(site.entity.id, site.entity.function, len(current.sizes), prediction, target)
        self._compare(site, current.constant, args, kwargs, target)
        if site.entity.classes is None or not self.session.budget.affords(site.accuracy_cost):
            return
        started = now()
        judged = decisions.judged(site.entity.function, prediction, target, kwargs)
        if judged is not None:

            def deliver(values: list[float]) -> None:
                current.hits += values[0]
                current.judged += values[1]

            self.session.readback.read(judged, deliver)
        site.accuracy_cost = now() - started

    def _compare(self, site: LossSite, constant: ConstantLoss, args: Any, kwargs: dict[str, Any], target: Any) -> None:
        """Let the best constant be known on the same examples; a pass that is not seen as a whole tells nothing."""
        if not constant.usable:
            return
        if not self.session.budget.affords(site.constant_cost):
            constant.usable = False
            return
        started = now()
        constant.see(args, kwargs, target, self.session.readback.read)
        site.constant_cost = now() - started

    def close_passes(self) -> None:
        """A training step begins, or the run ends: validation passes are complete."""
        if not self._validating:
            return
        self._validating = False
        for site in self.sites.values():
            if site.validation is not None:
                if len(site.validation.values) < len(site.validation.sizes):
                    self.session.readback.drain()
                site.validation.close(self.session.recorder, site.entity, self._batch)
                site.validation = None

    # deep samples of training calls ---------------------------------------------------------------------------------

    def _sample(self, site: LossSite, prediction: Any, target: Any, kwargs: dict[str, Any]) -> None:
        started = now()
        owner, step = ("loss", site.entity.id), self.session.coming
        op = _made_by(prediction)
        if op and op != site.entity.prediction_op:
            site.entity = replace(site.entity, prediction_op=op)
            self.session.recorder.entity(site.entity)
        columns = ("mean", "std", "min", "max", "batch_std")
        for name, value in (("prediction", prediction), ("target", target)):
            if numbers.is_plain(value) and value.numel():
                self._emit(name, owner, columns, step, _spread(value))
        constant = errors.constant_loss(site.entity.function, target, kwargs)
        if constant is not None:
            self._emit("train/constant", owner, ("loss",), step, constant.reshape(1))
        self.session.rules.sampled(site.entity.id, site.entity.function, prediction, target)
        if site.entity.classes is not None and numbers.is_plain(prediction) and numbers.is_plain(target):
            self._sample_classes(site, owner, step, prediction, target, kwargs)
        spent = now() - started
        self.session.budget.charge_deep(spent)
        self.session.budget.charge(-spent)

    def sample_errors(self, owner: tuple[str, int], step: int, found: errors.Errors) -> None:
        """Record what a loss function would have been given, of errors that the script computes by itself."""
        with torch.no_grad():
            columns = ("mean", "std", "min", "max", "batch_std")
            for name, value in (("prediction", found.prediction), ("target", found.target)):
                self._emit(name, owner, columns, step, _spread(value))
            self._emit("train/constant", owner, ("loss",), step, found.constant.reshape(1))

    def _sample_classes(
        self,
        site: LossSite,
        owner: tuple[str, int],
        step: int,
        prediction: Tensor,
        target: Tensor,
        kwargs: dict[str, Any],
    ) -> None:
        function, classes = site.entity.function, site.entity.classes or 0
        judged = decisions.judged(function, prediction, target, kwargs)
        if judged is not None and target.numel():
            self._emit("train/accuracy", owner, ("accuracy",), step, (judged[0] / judged[1]).reshape(1))
        if classes > MOST_CLASSES:
            return
        self.session.insight.judged(owner, function, prediction, target)
        self._count_classes(site, prediction, target, kwargs)

    def _count_classes(self, site: LossSite, prediction: Any, target: Any, kwargs: dict[str, Any]) -> None:
        """How often each class was target and prediction in this batch."""
        started = now()
        function, classes = site.entity.function, site.entity.classes or 0
        owner, step, columns = ("loss", site.entity.id), self.session.coming, tuple(range(classes))
        predicted, real = decisions.decided(function, prediction, target)
        kept = decisions.kept_of(function, real, kwargs)

        def seen(values: list[float]) -> None:
            site.seen = [a + b for a, b in zip(site.seen or [0.0] * classes, values, strict=True)]
            site.rare = 1 < classes <= FEW_CLASSES and min(site.seen) < RARE * max(site.seen)

        if real is not None:
            self._emit("target_classes", owner, columns, step, decisions.count(real, classes, kept), seen)
        if predicted is not None:
            self._emit("predicted_classes", owner, columns, step, decisions.count(predicted, classes, kept))
        site.count_cost = now() - started

    def _emit(
        self,
        name: str,
        owner: tuple[str, int],
        columns: tuple[str | int, ...],
        step: int,
        row: Tensor,
        then: Callable[[list[float]], None] | None = None,
    ) -> None:
        signal = self.session.recorder.signal(name, owner, columns)

        def deliver(values: list[float]) -> None:
            signal.append(step, values)
            if then is not None:
                then(values)

        self.session.readback.read(row, deliver)


def _given(args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Predictions and targets of a call of a loss function."""
    return args[0] if args else kwargs.get("input"), args[1] if len(args) > 1 else kwargs.get("target")


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _precision(prediction: Any) -> str:
    """The type that autocast computes in where the prediction lies; "" where it is off."""
    device = prediction.device.type if isinstance(prediction, Tensor) else "cpu"
    try:
        on = torch.is_autocast_enabled(device)
    except RuntimeError:  # a device that autocast does not know
        return ""
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.") if on else ""


def _weights(function: str, kwargs: dict[str, Any]) -> tuple[float, ...]:
    """The weights of the classes, or of the positives, that a loss is given; (nan,) where they cannot be told as such."""
    if function in BINARY_LOSSES:
        positive, each = kwargs.get("pos_weight"), kwargs.get("weight")
        if each is not None or (positive is not None and positive.numel() != 1):
            return (math.nan,)
        return () if positive is None else (float(positive),)
    weight = kwargs.get("weight") if function in CLASS_INDEX_LOSSES else None
    return () if weight is None or weight.numel() > MOST_CLASSES else tuple(weight.detach().flatten().tolist())


def _made_by(prediction: Any) -> str:
    """Name of the operation behind the predictions, looking through reshapes."""
    node = wiring.maker(getattr(prediction, "grad_fn", None))
    return "" if node is None else str(node.name())


def _spread(value: Tensor) -> Tensor:
    """Mean, standard deviation, minimum, maximum, and mean spread over the batch; shape (5,)."""
    value = value.detach()
    flat = numbers.sample(value, numbers.ACTIVATION_SAMPLE).float()
    rows = value.reshape(value.shape[0], -1)[:, :BATCH_OUTPUTS].float() if value.ndim else flat.reshape(1, -1)
    variance, mean = torch.var_mean(flat, unbiased=False)
    batch = rows.std(0, unbiased=False).mean()
    return torch.stack([mean, variance.sqrt(), flat.min(), flat.max(), batch])
