"""Strength of concrete-like mixtures: a network without an optimizer, trained through torch.func."""

import argparse
import math

import torch
from torch import nn
from torch.func import functional_call, grad_and_value

NAMES = ("cement", "slag", "ash", "water", "additive", "coarse", "fine", "age")


def mixtures(n, generator):
    u = torch.rand(n, len(NAMES), generator=generator)
    x = u * torch.tensor([440.0, 360.0, 200.0, 125.0, 32.0, 344.0, 398.0, 364.0]) + torch.tensor(
        [100.0, 0.0, 0.0, 122.0, 0.0, 801.0, 594.0, 1.0]
    )
    binder = x[:, 0] + 0.7 * x[:, 1] + 0.4 * x[:, 2]
    strength = 18 * (binder / x[:, 3]) ** 0.8 * torch.log1p(x[:, 7]) / math.log(29) + 0.3 * x[:, 4]
    return x, strength + 2 * torch.randn(n, generator=generator)


class Mlp(nn.Module):
    def __init__(self, inputs, hidden=48):
        super().__init__()
        self.inner = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.outer(torch.nn.functional.silu(self.second(torch.nn.functional.silu(self.inner(x)))))[:, 0]


def main(seed, steps=1200, lr=0.05, momentum=0.9):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x, y = mixtures(1500, generator)
    x_test, y_test = mixtures(500, generator)
    centre, spread = x.mean(0), x.std(0)
    x, x_test = (x - centre) / spread, (x_test - centre) / spread
    offset, scale = y.mean(), y.std()

    net = Mlp(len(NAMES))
    params = {name: value.detach() for name, value in net.named_parameters()}
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}

    def objective(params, inputs, targets):
        prediction = functional_call(net, params, (inputs,))
        return ((prediction - targets) ** 2).mean()

    step_function = grad_and_value(objective)
    for step in range(steps):
        rows = torch.randint(0, len(x), (64,), generator=generator)
        gradient, loss = step_function(params, x[rows], (y[rows] - offset) / scale)
        rate = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        for name, g in gradient.items():
            velocity[name] = momentum * velocity[name] + g
            params[name] = params[name] - rate * velocity[name]
        if step % 200 == 0:
            print(f"step {step:5d} loss {loss:.4f}")

    predicted = functional_call(net, params, (x_test,)) * scale + offset
    print("METRIC rmse", (predicted - y_test).pow(2).mean().sqrt().item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
