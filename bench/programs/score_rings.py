"""Denoising score matching on two rings; samples come from annealed Langevin dynamics."""

import argparse
import math

import torch
import torch.nn as nn

LEVELS = torch.exp(torch.linspace(math.log(1.0), math.log(0.08), 8))


def rings(n, generator):
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    radius = torch.where(torch.rand(n, generator=generator) < 0.5, 1.0, 2.0)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points + 0.05 * torch.randn(n, 2, generator=generator)


class ScoreNet(nn.Module):
    """Predicts minus the noise that was added, divided by its level."""

    def __init__(self, width=96):
        super().__init__()
        self.embed = nn.Embedding(len(LEVELS), 16)
        self.body = nn.Sequential(nn.Linear(2 + 16, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.out = nn.Linear(width, 2)

    def forward(self, x, level):
        h = self.body(torch.cat([x, self.embed(level)], dim=1))
        return self.out(h) / LEVELS[level][:, None]


def dsm_loss(model, x):
    level = torch.randint(0, len(LEVELS), (len(x),))
    sigma = LEVELS[level][:, None]
    noise = torch.randn_like(x)
    score = model(x + sigma * noise, level)
    return (0.5 * (sigma * score + noise) ** 2).sum(dim=1).mean()


@torch.no_grad()
def langevin(model, n, steps=15):
    x = 2 * torch.randn(n, 2)
    for index, sigma in enumerate(LEVELS):
        level = torch.full((n,), index)
        size = 0.15 * sigma**2
        for _ in range(steps):
            x = x + size * model(x, level) + (2 * size).sqrt() * torch.randn_like(x)
    return x


def radius_distance(samples, truth):
    """Wasserstein distance between the distributions of the radius."""
    return (samples.norm(dim=1).sort().values - truth.norm(dim=1).sort().values).abs().mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--lr", type=float, default=4e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    model = ScoreNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(args.steps):
        optimizer.zero_grad()
        loss = dsm_loss(model, rings(128, generator))
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 150 == 0:
            print(f"{step:5d} {loss.item():.4f}")
    print("METRIC radius_distance", radius_distance(langevin(model, 1500), rings(1500, generator)))
