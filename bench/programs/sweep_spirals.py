"""Two spirals: a short search over width and learning rate in one script, then a long training with the best pair."""

import argparse
import itertools
import math

import torch
import torch.nn as nn


def spirals(n, generator, noise=0.12):
    t = 0.4 + 2.6 * torch.rand(n, generator=generator)
    side = torch.randint(0, 2, (n,), generator=generator)
    angle = math.pi * (t + side)
    x = torch.stack([t * angle.cos(), t * angle.sin()], 1) + noise * torch.randn(n, 2, generator=generator)
    return x / 1.6, side.float()[:, None]


def network(width):
    return nn.Sequential(
        nn.Linear(2, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1), nn.Sigmoid()
    )


def bce(p, y, eps=1e-7):
    p = p.clamp(eps, 1 - eps)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def train(width, lr, steps, data, generator, batch=64):
    x, y = data
    model = network(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (batch,), generator=generator)
        optimizer.zero_grad()
        loss = bce(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    return model


def accuracy(model, data):
    with torch.no_grad():
        return ((model(data[0]) > 0.5).float() == data[1]).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=900)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    data, val, test = spirals(800, generator), spirals(200, generator), spirals(600, generator)
    scores = {}
    for width, lr in itertools.product((16, 48), (1e-3, 1e-2)):
        scores[width, lr] = accuracy(train(width, lr, 120, data, generator), val)
        print(f"width {width:3d} lr {lr:g}: {scores[width, lr]:.3f}")
    best_width, best_lr = max(scores, key=scores.get)
    model = train(best_width, best_lr, args.steps, data, generator)
    with torch.no_grad():
        print("METRIC log_loss", bce(model(test[0]), test[1]).item())


if __name__ == "__main__":
    main()
