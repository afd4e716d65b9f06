"""Tap on modules: what goes into the model and what its layers put out, on sampled steps only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vivavoce.attach import numbers
from vivavoce.attach.budget import now
from vivavoce.attach.costs import multiply_adds, shape_of
from vivavoce.attach.tap import Tap

if TYPE_CHECKING:
    from vivavoce.attach.session import Session
    from vivavoce.record.recorder import SignalWriter

COLUMNS = ("mean", "std", "zero", "dead", "saturated", "nonfinite")
RECTIFIERS = ("ReLU", "ReLU6", "Threshold", "relu")  # zero below a threshold, so a unit can die
SQUASHERS = {"Tanh": "tanh", "tanh": "tanh", "Sigmoid": "sigmoid", "sigmoid": "sigmoid"}
TANH_LIMIT = 0.99  # |tanh| beyond which its slope is below 0.02
SIGMOID_LIMIT = 0.01  # distance from 0 or 1 below which the sigmoid's slope is below 0.01
EVALUATION_PAUSE = 0.02  # seconds between two looks at the input of an evaluation
MOST_ANSWERS = 2**18  # numbers of an answer that are looked at
ROUNDING = 1e-3  # of a sum of probabilities
MOST_FOREIGN = 64  # calls of other modules after which an evaluation is no longer expected
MOST_CALLS = 5_000  # calls of modules after which a sample ends: a long roll-out must not go on under a hook
LEAST_VALUES = 8  # values a unit must have in the batch for "dead" to mean anything
CONVOLUTION_DIMS = 4  # outputs of this many dimensions and more have their units in dimension 1


class ModuleTap(Tap):
    """Registers one global forward hook for the forward pass of a sampled step, then removes it.

    A global hook is kept by PyTorch and not by the modules, so that copying or saving a model in the middle of a
    sampled step does not copy or save anything of Viva's. Compiled models are left alone.
    """

    name = "modules"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._handle: Any = None
        self._rows: dict[int, dict[int, Tensor]] = {}  # model -> module -> row of COLUMNS
        self.made: dict[Any, Tensor] = {}  # what models as a whole put out in this step, by the operation that made it
        self._expected: Any = (
            None  # the handle of the hook that waits for the input of an evaluation, then for its answer
        )
        self._evaluated = 0.0  # when an evaluation was last looked at
        self._foreign = 0  # calls of other modules since
        self._seen: set[int] = set()
        self._input_of: set[int] = set()
        self.outputs: set[tuple[int, int]] = set()  # (address, size) of activations already looked at
        self._step = 0
        self._calls = 0
        self._sizes: dict[int, dict[str, Any]] = {}  # module -> what is known of its calls in this step
        self._sized: set[int] = set()  # modules whose shapes and cost are recorded

    def install(self) -> None:
        """Hear of modules as they are built; the forward hook comes and goes with the samples."""
        self.session.registry.index.install()
        self.patches.wrap(nn.Module, "__setstate__", self.session.registry.index.copied)
        self.patches.wrap(nn.Module, "eval", self._wrap_eval)

    def uninstall(self) -> None:
        """Remove every hook."""
        super().uninstall()
        self.session.registry.index.uninstall()
        self.disarm()

    def arm(self) -> None:
        """The coming forward pass is sampled."""
        if self._handle is None and self.on and not self.session.compiling and not self.session.registry.compiled:
            self._seen.clear()
            self._input_of.clear()
            self.outputs.clear()
            self.made.clear()
            self._calls = 0
            self._handle = nn.modules.module.register_module_forward_hook(self._hook)

    def _wrap_eval(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def evaluated(module: nn.Module) -> nn.Module:
            result: nn.Module = original(module)
            if self.on and self.session.active and not numbers.tracing():
                try:
                    self._expect(module)
                except Exception as error:
                    self.fail(error)
            return result

        return evaluated

    def _expect(self, module: nn.Module) -> None:
        """A model is about to be evaluated: its next input is looked at, unless the last one was a moment ago."""
        known = self.session.registry.module(module)
        if known is None or known[0].root() is not module or self._expected is not None:
            return
        if self.session.compiling or self.session.registry.compiled or now() - self._evaluated < EVALUATION_PAUSE:
            return
        self._evaluated = now()
        self._foreign = 0
        self._expected = nn.modules.module.register_module_forward_pre_hook(self._evaluation_hook)

    def _evaluation_hook(self, module: nn.Module, args: Any) -> None:
        self._foreign += 1
        try:
            known = self.session.registry.module(module)
            if known is None or known[0].root() is not module:
                if self._foreign > MOST_FOREIGN:
                    self._expect_no_more()
                return
            self._expect_no_more()
            if not module.training and self.on and self.session.active and not numbers.tracing():
                started = now()
                self._look_at_input(known[0].id, args, "val/input")
                self._expected = nn.modules.module.register_module_forward_hook(self._answer_hook)
                self.session.budget.charge_deep(now() - started)
        except Exception as error:
            self._expect_no_more()
            self.fail(error)

    def _answer_hook(self, module: nn.Module, args: Any, output: Any) -> None:
        try:
            known = self.session.registry.module(module)
            if known is None or known[0].root() is not module:
                return
            self._expect_no_more()
            if self.on and self.session.active and not numbers.tracing():
                started = now()
                self._look_at_answer(known[0].id, output, "val/sureness")
                self.session.budget.charge_deep(now() - started)
        except Exception as error:
            self._expect_no_more()
            self.fail(error)

    def _look_at_answer(self, model: int, output: Any, name: str) -> None:
        answer = output[0] if isinstance(output, tuple) and output else output
        if not numbers.is_plain(answer) or not answer.is_floating_point() or not 1 <= answer.ndim <= 2:
            return
        if not answer.numel():
            return
        step = self.session.coming
        signal = self.session.recorder.signal(name, ("model", model), ("sureness", "examples"))
        self.session.readback.read(_sureness(answer.detach().float()), lambda values: signal.append(step, values))

    def _expect_no_more(self) -> None:
        if self._expected is not None:
            self._expected.remove()
            self._expected = None

    def disarm(self) -> None:
        """The forward pass is over."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._expect_no_more()

    def _hook(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self.on or numbers.tracing() or not self.session.active:
            return
        if not torch.is_grad_enabled():
            self._look_at_what_is_made(module, output)
            return
        self._calls += 1
        if self._calls > MOST_CALLS:
            self.disarm()
            self.session.graph.stop_asking()
            return
        started = now()
        try:
            known = self.session.registry.module(module)
            if known is None or not module.training:
                return
            class_name = type(module).__name__
            if (class_name in RECTIFIERS or class_name in SQUASHERS) and numbers.is_plain(output):
                self.outputs.add((output.data_ptr(), output.numel()))
            state, entity_id = known
            self.session.insight.called(state.id, module, state.root() is module, entity_id, args, output)
            if state.root() is module and numbers.is_plain(output) and output.grad_fn is not None:
                self.made[output.grad_fn] = output.detach()
            if entity_id not in self._sized:
                self._look_at_size(entity_id, module, args, output)
            if id(module) in self._seen:
                return
            self._seen.add(id(module))
            if state.id not in self._input_of:
                self._look_at_input(state.id, args)
            if not module._modules:
                self._look_at_output(state.id, entity_id, class_name, output)
            if state.root() is module:
                self._look_at_answer(state.id, output, "sureness")
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_deep(now() - started)

    def _look_at_size(self, entity_id: int, module: nn.Module, args: Any, output: Any) -> None:
        sizes = self._sizes.setdefault(
            entity_id,
            {"input_shape": shape_of(args), "output_shape": shape_of(output), "calls": 0, "multiply_adds": 0},
        )
        sizes["calls"] += 1
        sizes["multiply_adds"] += multiply_adds(module, args, output)

    def _look_at_what_is_made(self, module: nn.Module, output: Any) -> None:
        """Without gradients only a generator at work for its rival is of interest: a model in training mode, as a whole."""
        started = now()
        try:
            known = self.session.registry.module(module) if module.training else None
            if known is not None and known[0].root() is module:
                self.session.insight.put_out(known[0].id, output)
        except Exception as error:
            self.fail(error)
        self.session.budget.charge_deep(now() - started)

    def _look_at_input(self, model: int, args: Any, name: str = "input") -> None:
        inputs = [v for v in args if numbers.is_plain(v) and v.is_floating_point() and v.numel()]
        if not inputs or inputs[0].grad_fn is not None:  # what another module made is no data
            return
        step = self.session.coming
        if name == "input":
            self._input_of.add(model)
            self.session.rules.saw_input(inputs[0])
        columns = ("mean", "std", "min", "max", "nonfinite", "constant_features")
        signal = self.session.recorder.signal(name, ("model", model), columns)
        self.session.readback.read(_input_row(inputs[0]), lambda values: signal.append(step, values))

    def _look_at_output(self, model: int, module: int, class_name: str, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) and output else output
        if not numbers.is_plain(value) or not value.is_floating_point() or not value.numel():
            return
        self.add(model, module, class_name, value)

    def add(self, model: int, module: int, class_name: str, value: Tensor) -> None:
        """Look at the output of a module or functional activation."""
        self._step = self.session.coming
        self._rows.setdefault(model, {})[module] = activation_row(value, class_name)

    def emit(self) -> None:
        """The sampled step is over: record what was seen, one row a model."""
        self.made.clear()  # it holds graphs, and through them parameters
        sizes, self._sizes = self._sizes, {}
        for module, facts in sizes.items():
            self._sized.add(module)
            self.session.registry.describe(module, **facts)
        rows, self._rows = self._rows, {}
        for model, by_module in rows.items():
            columns = tuple(sorted(by_module))
            signals = [
                self.session.recorder.signal(f"activation_{label}", ("model", model), columns) for label in COLUMNS
            ]
            first = by_module[columns[0]]
            table = torch.cat([by_module[module].to(first.device, non_blocking=True) for module in columns])
            self.session.readback.read(table, _Emit(signals, self._step))


class _Emit:
    """Deals the joined rows of a sampled step out to the signals of `COLUMNS`."""

    def __init__(self, signals: list[SignalWriter], step: int) -> None:
        self.signals, self.step = signals, step

    def __call__(self, values: list[float]) -> None:
        for index, signal in enumerate(self.signals):
            signal.append(self.step, values[index :: len(COLUMNS)])


def _sureness(answer: Tensor) -> Tensor:
    """Mean over the examples of the largest probability, and how many they are; of logits (N, classes), (N,) or (N, 1).

    Answers that are probabilities already are taken as they are.
    """
    rows = answer.reshape(len(answer), -1)
    rows = rows[:: -(-rows.numel() // MOST_ANSWERS)] if rows.numel() > MOST_ANSWERS else rows
    inside = (rows >= 0).all() & (rows <= 1).all()
    if rows.shape[1] > 1:
        given = inside & ((rows.sum(1) - 1).abs() < ROUNDING).all()
        likely = torch.where(given, rows, rows.softmax(1)).amax(1)
    else:
        yes = torch.where(inside, rows, rows.sigmoid())
        likely = torch.maximum(yes, 1 - yes)
    return torch.stack([likely.mean(), likely.new_tensor(float(len(rows)))])


def activation_row(output: Tensor, class_name: str) -> Tensor:
    """The numbers of `COLUMNS` for one output, shape (6,), float32; NaN where one has no meaning."""
    with torch.no_grad():
        value = output.detach()
        flat = numbers.sample(value, numbers.ACTIVATION_SAMPLE).float()
        finite = torch.isfinite(flat)
        variance, mean = torch.var_mean(flat, unbiased=False)
        missing = torch.full_like(mean, float("nan"))
        dead = _dead_units(value) if class_name in RECTIFIERS else None
        row = [
            mean,
            variance.sqrt(),
            (flat == 0).float().mean(),
            missing if dead is None else dead,
            _saturated(flat, SQUASHERS.get(class_name), missing),
            (~finite).float().sum(),
        ]
        return torch.stack(row)


def _dead_units(value: Tensor) -> Tensor | None:
    if value.ndim < 2:
        return None
    unit_dim = 1 if value.ndim >= CONVOLUTION_DIMS else value.ndim - 1
    others = tuple(dim for dim in range(value.ndim) if dim != unit_dim)
    if value.numel() < LEAST_VALUES * value.shape[unit_dim]:
        return None
    return (value.amax(others) <= 0).float().mean()


def _saturated(flat: Tensor, kind: str | None, missing: Tensor) -> Tensor:
    if kind == "tanh":
        return (flat.abs() > TANH_LIMIT).float().mean()
    if kind == "sigmoid":
        return ((flat < SIGMOID_LIMIT) | (flat > 1 - SIGMOID_LIMIT)).float().mean()
    return missing


def _input_row(value: Tensor) -> Tensor:
    with torch.no_grad():
        flat = numbers.sample(value, numbers.ACTIVATION_SAMPLE).float()
        finite = torch.isfinite(flat)
        variance, mean = torch.var_mean(flat, unbiased=False)
        if value.ndim >= 2 and value.shape[0] >= LEAST_VALUES:
            rows = value.detach().reshape(value.shape[0], -1)[:, :512].float()
            constant = (rows.amax(0) == rows.amin(0)).float().mean()
        else:
            constant = torch.full_like(mean, float("nan"))
        return torch.stack([mean, variance.sqrt(), flat.min(), flat.max(), (~finite).float().sum(), constant])
