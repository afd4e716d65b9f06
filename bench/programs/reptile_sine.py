"""Reptile meta-learning: an initialisation from which a new sine is learned from ten points in 32 steps."""

import argparse
import math
from copy import deepcopy

import torch
from torch import nn


class SineTask:
    def __init__(self):
        self.amplitude = 0.5 + 4.5 * torch.rand(1)
        self.phase = math.pi * torch.rand(1)

    def __call__(self, x):
        return self.amplitude * torch.sin(x + self.phase)

    def points(self, n):
        x = 10 * torch.rand(n, 1) - 5
        return x, self(x)


def make_net():
    return nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))


def adapt(net, x, y, lr, steps):
    """Plain gradient steps on a task; returns the last loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def evaluate(net, lr, tasks=20):
    total = 0.0
    for _ in range(tasks):
        task, copy = SineTask(), deepcopy(net)
        adapt(copy, *task.points(10), lr, 32)
        x = torch.linspace(-5, 5, 100)[:, None]
        with torch.no_grad():
            total += nn.functional.mse_loss(copy(x), task(x)).item()
    return total / tasks


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--inner-lr", type=float, default=0.02)
    parser.add_argument("--outer-lr", type=float, default=0.2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    net = make_net()
    for it in range(args.iterations):
        fast = deepcopy(net)
        loss = adapt(fast, *SineTask().points(20), args.inner_lr, 5)
        step = args.outer_lr * (1 - it / args.iterations)
        with torch.no_grad():
            for slow_p, fast_p in zip(net.parameters(), fast.parameters(), strict=True):
                slow_p.add_(fast_p - slow_p, alpha=step)
        if it % 300 == 0:
            print(f"iteration {it}: loss after adaptation {loss:.3f}")
    print("METRIC mse", evaluate(net, args.inner_lr))


if __name__ == "__main__":
    main()
