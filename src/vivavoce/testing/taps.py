"""Conformance cases that every tap runs through: small trainings that a tap must not change, not even one that fails.

@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)
def test_conforms(training, tmp_path):
    check(training, tmp_path)

@pytest.mark.parametrize(("tap", "training"), FAULTS)
def test_survives(tap, training, tmp_path):
    check_faults(tap, training, tmp_path)
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from vivavoce.attach.session import Session
from vivavoce.attach.tap import Tap
from vivavoce.settings import Settings

STEPS = 3  # of each training
RULES = ("prediction > input[0]", "sum(probability) <= 2", "prediction < 100")  # that every training is held against
_SPARED = ("install", "uninstall", "fail", "stop_asking", "disarm", "_forget")  # a tap's methods that must not fail
_GUARD = "self.fail("  # a method with this in its source catches the faults of those it calls


@dataclass(frozen=True)
class Training:
    """A small seeded training; `train` returns the tensors that it ends with."""

    name: str
    train: Callable[[], list[Tensor]]


def take_everything(session: Session) -> None:
    """Have a session take every signal at every step, whatever it costs: for tests that compare them with an oracle."""
    budget: Any = session.budget
    budget.light_steps = lambda step: 0
    budget.wants_deep = lambda step: True
    budget.affords = lambda seconds: True


@contextmanager
def session_in(directory: Path) -> Iterator[Session]:
    """A session that takes everything inside the block, with its store in `directory`."""
    session = Session(Settings(budget=0.5, directory=directory, rules=RULES))
    take_everything(session)
    session.install()
    try:
        yield session
    finally:
        session.uninstall()


def check(training: Training, directory: Path) -> None:
    """Raise AssertionError where watching changes a training.

    It runs plainly and watched: the tensors it ends with, and the state of the random number generator, must be equal
    bit for bit, and no tap may fail.
    """
    expected = _outcome(training)
    with session_in(directory) as session:
        watched = _outcome(training)
    assert not session.faults, f"{training.name}: {session.faults} failed"
    _assert_same(expected, watched, f"{training.name}, watched")


def check_faults(name: str, training: Training, directory: Path) -> None:
    """Raise AssertionError where a fault in the tap called `name` reaches a training, or passes without a warning.

    The training runs once for each method of the tap that it calls, with that method raising.
    """
    expected = _outcome(training)
    with session_in(directory) as session:
        calls = count_calls(_tap(session, name))
        _outcome(training)
    for method in sorted(set(calls)):
        _check_fault(name, method, training, directory, expected)


def _check_fault(name: str, method: str, training: Training, directory: Path, expected: list[Tensor]) -> None:
    with _standard_error() as written, session_in(directory) as session:
        break_method(_tap(session, name), method)
        outcome = _outcome(training)
    place = f"{training.name}, {name}.{method} broken"
    _assert_same(expected, outcome, place)
    assert session.faults, f"{place}: the fault was swallowed without a word"
    lines = [line for line in written.getvalue().splitlines() if "internal error" in line]
    assert len(lines) == len(session.faults) == len(set(session.faults)), f"{place}: more than one warning: {lines}"


def methods_of(tap: Tap) -> list[str]:
    """The methods of a tap that a training may reach under a guard."""
    members = inspect.getmembers(type(tap), inspect.isfunction)
    names = [name for name, method in members if _GUARD not in inspect.getsource(method)]
    return [name for name in names if not name.startswith(("__", "_wrap")) and name not in _SPARED]


def count_calls(tap: Tap) -> list[str]:
    """A list that grows by the name of each method of `methods_of` that is called."""
    calls: list[str] = []

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return method(*args, **kwargs)

        return call

    for name in methods_of(tap):
        setattr(tap, name, counted(name, getattr(tap, name)))
    return calls


def break_method(tap: Tap, method: str) -> None:
    """Have a method raise."""

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError(f"injected into {method}")

    setattr(tap, method, broken)


@contextmanager
def _standard_error() -> Iterator[StringIO]:
    before, sys.stderr = sys.stderr, StringIO()
    try:
        yield sys.stderr
    finally:
        sys.stderr = before


def _tap(session: Session, name: str) -> Tap:
    return next(tap for tap in session.taps if tap.name == name)


def _outcome(training: Training) -> list[Tensor]:
    torch.manual_seed(0)
    tensors = training.train()
    return [tensor.detach().clone() for tensor in tensors] + [torch.get_rng_state()]


def _assert_same(expected: list[Tensor], found: list[Tensor], place: str) -> None:
    assert len(expected) == len(found), place
    same = all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert same, f"{place}: the training ends with other numbers"


# the trainings ----------------------------------------------------------------------------------------------------------


def _differentiate(loss: Any) -> None:
    loss.backward()


def _network(*extra: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), *extra, nn.Linear(8, 3))


def _classifier() -> list[Tensor]:
    model = _network(nn.BatchNorm1d(8))
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dataset = TensorDataset(torch.randn(8 * STEPS, 6), torch.randint(3, (8 * STEPS,)))
    for inputs, targets in DataLoader(dataset, batch_size=8, shuffle=True):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), targets)
        _differentiate(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    with torch.no_grad():
        functional.cross_entropy(model.eval()(dataset.tensors[0]), dataset.tensors[1])
    return list(model.state_dict().values())


def _adversaries() -> list[Tensor]:
    generator, critic = nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 1))
    generator_steps = torch.optim.Adam(generator.parameters())
    critic_steps = torch.optim.Adam(critic.parameters())
    for _ in range(STEPS):
        made = generator(torch.randn(8, 2))
        critic_steps.zero_grad()
        _differentiate(functional.softplus(critic(made.detach()) - critic(torch.randn(8, 4))).mean())
        critic_steps.step()
        generator_steps.zero_grad()
        _differentiate(functional.binary_cross_entropy_with_logits(critic(made), torch.ones(8, 1)))
        generator_steps.step()
    return [*generator.parameters(), *critic.parameters()]


def _closure() -> list[Tensor]:
    model = nn.Linear(4, 1)
    optimizer: Any = torch.optim.LBFGS(model.parameters(), max_iter=3)
    inputs, targets = torch.randn(16, 4), torch.randn(16, 1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = nn.MSELoss()(model(inputs), targets)
        _differentiate(loss)
        return float(loss.detach())

    for _ in range(STEPS):
        optimizer.step(closure)
    return [*model.parameters()]


def _recurrence() -> list[Tensor]:
    cell, head = nn.RNNCell(3, 5), nn.Linear(5, 2)
    parameters: list[Tensor] = [*cell.parameters(), *head.parameters()]
    optimizer: Any = torch.optim.RMSprop(parameters, lr=0.01)
    for _ in range(STEPS):
        hidden = torch.zeros(4, 5)
        for _ in range(12):
            hidden = torch.tanh(cell(torch.randn(4, 3), hidden))
        _differentiate(functional.mse_loss(head(hidden), torch.randn(4, 2)))
        optimizer.step()
        optimizer.zero_grad()
    return parameters


def _embedding() -> list[Tensor]:
    model = nn.Embedding(20, 4, sparse=True)
    optimizer: Any = torch.optim.SparseAdam(model.parameters())
    for _ in range(STEPS):
        optimizer.zero_grad()
        _differentiate(model(torch.randint(20, (16,))).square().mean())
        optimizer.step()
    return [model.weight]


def _mixed_precision() -> list[Tensor]:
    model = _network()
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(model(torch.randn(8, 6)), torch.randint(3, (8,)))
        _differentiate(scaler.scale(loss))
        scaler.step(optimizer)
        scaler.update()
    return [*model.parameters()]


def _by_hand() -> list[Tensor]:
    weight = torch.randn(4, 2, requires_grad=True)
    for _ in range(2 * STEPS):
        loss = (torch.randn(8, 4) @ weight).sigmoid().square().mean()
        _differentiate(loss)
        assert weight.grad is not None
        with torch.no_grad():
            weight -= 0.1 * weight.grad
        weight.grad = None
    return [weight]


def _handed() -> list[Tensor]:
    """Gradients that `torch.autograd.grad` hands back: the weights are first changed by hand, then by an optimizer."""
    model = _network()
    weights: list[Tensor] = list(model.parameters())
    optimizer: Any = torch.optim.SGD(weights, lr=0.1)
    for step in range(4 * STEPS):
        loss = functional.cross_entropy(model(torch.randn(8, 6)), torch.randint(3, (8,)))
        gradients = torch.autograd.grad(loss, weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            if step < 3 * STEPS:
                weight.data.sub_(gradient, alpha=0.1)
            else:
                weight.grad = gradient
        if step >= 3 * STEPS:
            optimizer.step()
    return weights


def _transformed() -> list[Tensor]:
    """Weights that are new tensors in every step, trained through `torch.func`."""
    model = _network()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(model, weights, (x,)), y)

    for _ in range(2 * STEPS):
        gradients = torch.func.grad(loss)(weights, torch.randn(8, 6), torch.randint(3, (8,)))
        weights = {name: weight - 0.1 * gradients[name] for name, weight in weights.items()}
    return [*weights.values()]


def _broken() -> list[Tensor]:
    model = nn.Linear(3, 1)
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        _differentiate(model(torch.randn(8, 3)).square().mean() * (float("nan") if step == 2 else 1.0))
        optimizer.step()
    return [torch.nan_to_num(tensor) for tensor in model.parameters()]


_CLASSIFIER = Training("classifier", _classifier)
_ADVERSARIES = Training("adversaries", _adversaries)
_CLOSURE = Training("closure", _closure)
_RECURRENCE = Training("recurrence", _recurrence)
_EMBEDDING = Training("embedding", _embedding)
_MIXED_PRECISION = Training("mixed precision", _mixed_precision)
_BY_HAND = Training("by hand", _by_hand)
_HANDED = Training("gradients handed back", _handed)
_TRANSFORMED = Training("transformed function", _transformed)
_NAN_LOSS = Training("NaN loss", _broken)
TRAININGS = (
    _CLASSIFIER,
    _ADVERSARIES,
    _CLOSURE,
    _RECURRENCE,
    _EMBEDDING,
    _MIXED_PRECISION,
    _BY_HAND,
    _HANDED,
    _TRANSFORMED,
    _NAN_LOSS,
)
FAULTS = (  # each tap with trainings that reach its methods
    ("optimizers", _CLASSIFIER),
    ("optimizers", _CLOSURE),
    ("optimizers", _BY_HAND),
    ("backward", _CLASSIFIER),
    ("backward", _NAN_LOSS),
    ("handed", _HANDED),
    ("handed", _TRANSFORMED),
    ("losses", _CLASSIFIER),
    ("losses", _ADVERSARIES),
    ("loaders", _CLASSIFIER),
    ("modules", _CLASSIFIER),
    ("graph", _CLASSIFIER),
    ("graph", _RECURRENCE),
    ("clipping", _CLASSIFIER),
    ("scaler", _MIXED_PRECISION),
    ("compiling", _CLASSIFIER),
    ("insight", _CLASSIFIER),
    ("rules", _CLASSIFIER),
    ("rules", _CLOSURE),
)
