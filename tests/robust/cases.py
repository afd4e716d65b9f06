"""Training as people really write it: each case trains something unusual and returns what came of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CASES: dict[str, tuple[Callable[[], Any], int | None]] = {}


def case(steps: int | None) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a case with the number of steps it trains: None where nothing is trained, 0 for "some"."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        CASES[function.__name__.replace("_", " ")] = (function, steps)
        return function

    return register


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def batches(count: int, rows: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        x = torch.randn(rows, 4)
        yield x, (x[:, 0] > 0).long()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


@case(steps=0)
def updates_by_hand() -> Any:
    model = mlp()
    for index, (x, y) in enumerate(batches(30)):
        F.cross_entropy(model(x), y).backward()
        for parameter in model.parameters():
            if index % 2:
                parameter.data.add_(parameter.grad, alpha=-0.1)
            else:
                with torch.no_grad():
                    parameter -= 0.1 * parameter.grad
            parameter.grad = None
    return model.state_dict()


@case(steps=12)
def many_backwards_inside_a_step() -> Any:
    model, x = mlp(), torch.randn(20, 4)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), x[:, :2])
        loss.backward()
        return loss

    return [optimizer.step(closure).detach() for _ in range(12)]


class Outer(torch.optim.Optimizer):
    """Steps an inner optimizer; its own __init__ calls nothing."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner
        self.param_groups, self.state, self.defaults = inner.param_groups, inner.state, inner.defaults

    def step(self, closure: Any = None) -> None:
        self.inner.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)


@case(steps=0)
def an_optimizer_inside_an_optimizer() -> Any:
    model = mlp()
    optimizer = Outer(torch.optim.Adam(model.parameters()))
    return [step(model, optimizer, x, y) for x, y in batches(12)]


class Jitter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.randn_like(x)


@case(steps=10)
def transforms_that_are_modules() -> Any:
    model, transform = mlp(), nn.Sequential(Jitter(), nn.Dropout(0.1), Jitter())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return [step(model, optimizer, torch.stack([transform(row) for row in x]), y) for x, y in batches(10, rows=64)]


class NeverCalled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 8)
        self.hidden = [nn.Linear(8, 8), nn.Linear(8, 2)]

    def decode(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = layer.forward(torch.tanh(x))
        return x


@case(steps=12)
def a_root_that_is_never_called() -> Any:
    model = NeverCalled()
    parameters = [*model.parameters(), *(p for layer in model.hidden for p in layer.parameters())]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for x, y in batches(12):
        optimizer.zero_grad()
        F.nll_loss(F.log_softmax(model.decode(model.encoder(x)), 1), y).backward()
        optimizer.step()
    return [p.detach() for p in parameters]


@case(steps=None)
def no_module_no_optimizer_no_backward() -> Any:
    # A nearest neighbour: no decomposition, whose last bits LAPACK lets depend on where the numbers lie in memory.
    x, y = torch.randn(50, 3), torch.randn(50)
    distances = (x[:, None] - x[None]).abs().amax(2)
    return y[distances.fill_diagonal_(float("inf")).argmin(1)]


@case(steps=0)
def tensors_without_a_module() -> Any:
    weight = torch.zeros(4, 2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    for x, y in batches(12):
        optimizer.zero_grad()
        (-torch.log_softmax(x @ weight, 1)[torch.arange(len(y)), y].mean()).backward()
        optimizer.step()
    return weight.detach()


@case(steps=0)
def optimizers_at_uneven_ratios() -> Any:
    actor, critic, alpha = mlp(), mlp(), nn.Parameter(torch.zeros(()))
    optimizers = [torch.optim.Adam(p) for p in (actor.parameters(), critic.parameters(), [alpha])]
    for index, (x, _) in enumerate(batches(12)):
        for _ in range(3):
            optimizers[1].zero_grad()
            critic(x).square().mean().backward()
            optimizers[1].step()
        optimizers[0].zero_grad()
        (alpha.exp() * critic(x + actor(x).repeat(1, 2))).mean().backward()
        optimizers[0].step()
        if index % 5 == 0:
            optimizers[2].step()
            alpha.grad = None
    return [actor.state_dict(), critic.state_dict(), alpha.detach()]


@case(steps=9)
def forwards_without_backward() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.no_grad():
        rollout = [model(x).argmax(1) for x, _ in batches(5)]
    for x, y in batches(9):
        F.cross_entropy(model(x), y)
        step(model, optimizer, x, y)
        model(x)
        with torch.inference_mode():  # validation left in training mode
            rollout.append(F.cross_entropy(model(x), y))
    return [rollout, model.state_dict()]


@case(steps=16)
def zero_grad_in_every_place() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for index, (x, y) in enumerate(batches(16)):
        if index % 4 == 0:
            optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        if index % 4 == 1:
            model.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        if index % 4 == 2:
            optimizer.zero_grad()
        if index % 4 == 3:
            for parameter in model.parameters():
                parameter.grad = None
    return model.state_dict()


@torch.jit.ignore
def _python_part(x: Tensor) -> Tensor:
    return x


@case(steps=8)
def torchscript_under_no_grad() -> Any:
    class Frozen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return x * 2

    frozen, model = torch.jit.script(Frozen()), mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return [step(model, optimizer, frozen(x), y) for x, y in batches(8)]


@case(steps=8)
def compiled_with_the_loss_inside() -> Any:
    model = mlp()
    loss_of = torch.compile(lambda x, y: F.cross_entropy(model(x), y), backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches(8):
        optimizer.zero_grad()
        loss_of(x, y).backward()
        optimizer.step()
    return model.state_dict()


@case(steps=15)
def an_endless_loop_with_a_way_out() -> Any:
    model, count = mlp(), 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    while True:
        x, y = next(batches(1))
        step(model, optimizer, x, y)
        count += 1
        if count == 15:
            return model.state_dict()


@case(steps=4)
def five_thousand_parameter_tensors() -> Any:
    model = nn.ParameterList([torch.randn(3) for _ in range(5000)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        torch.stack(list(model)).square().sum().backward()
        optimizer.step()
    return torch.stack(list(model)).detach()


@case(steps=20)
def parameters_that_appear_later() -> Any:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 4))
    for index, (x, y) in enumerate(batches(20)):
        if index == 8:
            model.insert(2, nn.Linear(8, 8))
            optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.01})
        step(model, optimizer, x, y)
    return model.state_dict()


@case(steps=5)
def parameters_on_no_device() -> Any:
    model, ghost = mlp(), nn.Linear(3, 3, device="meta")
    optimizer = torch.optim.SGD([*model.parameters(), *ghost.parameters()], lr=0.1)
    for x, y in batches(5):
        step(model, optimizer, x, y)
    ghost_optimizer = torch.optim.SGD(ghost.parameters(), lr=0.1)
    ghost(torch.randn(2, 3, device="meta")).sum().backward()
    ghost_optimizer.step()
    return model.state_dict()


@case(steps=9)
def batches_without_rows() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for index in range(9):
        x = torch.randn(0 if index % 3 == 0 else 6, 4)
        optimizer.zero_grad()
        F.mse_loss(model(x), x[:, :2], reduction="sum").backward()
        optimizer.step()
    return model.state_dict()


@case(steps=10)
def not_a_number_in_validation() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches(10):
        step(model, optimizer, x, y)
        model.eval()
        with torch.no_grad():
            F.cross_entropy(model(x * float("nan")), y)
        model.train()
    return model.state_dict()


@case(steps=10)
def losses_that_are_caught_and_skipped() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for index, (x, y) in enumerate(batches(15)):
        try:
            step(model, optimizer, x if index % 3 else x[:, :3], y)
        except RuntimeError:
            optimizer.zero_grad()
    return model.state_dict()


@case(steps=None)
def gradients_without_any_step() -> Any:
    model = mlp()
    x = torch.randn(3, 4, requires_grad=True)
    return torch.autograd.grad(model(x).sum(), x)


def seed() -> None:
    torch.manual_seed(0)
    random.seed(0)
