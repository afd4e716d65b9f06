"""Hinge-loss GAN with spectral normalisation; the target is a two-armed spiral."""

import argparse
import itertools
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm


def spiral():
    """Endless batches of 128 points on two arms."""
    while True:
        t = torch.rand(128).sqrt() * 2 * math.pi
        arm = torch.randint(0, 2, (128,)) * math.pi
        r = t / math.pi
        yield torch.stack([r * torch.cos(t + arm), r * torch.sin(t + arm)], 1) + 0.05 * torch.randn(128, 2)


class Generator(nn.Module):
    def __init__(self, z=6, width=64):
        super().__init__()
        self.z = z
        self.main = nn.Sequential(
            nn.Linear(z, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )

    def forward(self, n):
        return self.main(torch.randn(n, self.z))


class Discriminator(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.main = nn.Sequential(
            spectral_norm(nn.Linear(2, width)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Linear(width, width)),
            nn.LeakyReLU(0.1),
            nn.Linear(width, 1),
        )

    def forward(self, x):
        return self.main(x)


def distance(a, b):
    """Mean nearest-neighbour distance both ways (Chamfer)."""
    d = torch.cdist(a, b)
    return (d.min(0).values.mean() + d.min(1).values.mean()).item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--lr-g", type=float, default=1e-3)
    parser.add_argument("--lr-d", type=float, default=2e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    g, d = Generator(), Discriminator()
    g_optim = torch.optim.Adam(g.parameters(), args.lr_g, (0.0, 0.9))
    d_optim = torch.optim.Adam(d.parameters(), args.lr_d, (0.0, 0.9))
    data = spiral()
    for step, real in enumerate(itertools.islice(data, args.steps)):
        with torch.no_grad():
            fake = g(128)
        d_loss = F.relu(1 - d(real)).mean() + F.relu(1 + d(fake)).mean()
        d_optim.zero_grad()
        d_loss.backward()
        d_optim.step()

        g_loss = -d(g(128)).mean()
        g_optim.zero_grad()
        g_loss.backward()
        g_optim.step()
        if step % 150 == 0:
            print(f"step {step} d_loss {d_loss.item():.3f} g_loss {g_loss.item():.3f}")
    g.eval()
    with torch.no_grad():
        truth = torch.cat(list(itertools.islice(data, 6)))
        print("METRIC chamfer", distance(g(768), truth))


if __name__ == "__main__":
    main()
