"""Relativistic GAN on a pinwheel; both players' losses go through one backward call, on copies of each other's weights."""

import argparse
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn


def pinwheel(n, arms=5):
    angle = torch.randint(0, arms, (n,)) * 2 * math.pi / arms
    r = 1 + 0.3 * torch.randn(n)
    t = 0.1 * torch.randn(n)
    turn = angle + 0.6 * torch.exp(r - 1)
    return 1.5 * torch.stack([r * turn.cos() - t * turn.sin(), r * turn.sin() + t * turn.cos()], 1)


def mlp(inputs, outputs, width):
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs)
    )


def r1(discriminator, x):
    x = x.detach().requires_grad_()
    slope = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0]
    return 0.5 * slope.square().sum(1).mean()


def sliced(a, b, directions=64):
    theta = torch.arange(directions) * math.pi / directions
    axes = torch.stack([theta.cos(), theta.sin()])
    return ((a @ axes).sort(0).values - (b @ axes).sort(0).values).abs().mean().item()


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=700)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--lr-d", type=float, default=1e-3)
parser.add_argument("--gamma", type=float, default=0.1)
args = parser.parse_args()
torch.manual_seed(args.seed)
G, D = mlp(6, 2, 64), mlp(2, 1, 64)
frozen = copy.deepcopy(D).requires_grad_(False)
optimizer_g = torch.optim.Adam(G.parameters(), args.lr, betas=(0.0, 0.99))
optimizer_d = torch.optim.Adam(D.parameters(), args.lr_d, betas=(0.0, 0.99))

for step in range(1, args.steps + 1):
    x, fake = pinwheel(128), G(torch.randn(128, 6))
    frozen.load_state_dict(D.state_dict())
    d_loss = F.softplus(D(fake.detach()) - D(x)).mean() + args.gamma * (r1(D, x) + r1(D, fake))
    g_loss = F.softplus(frozen(x) - frozen(fake)).mean()
    optimizer_g.zero_grad()
    optimizer_d.zero_grad()
    (d_loss + g_loss).backward()
    optimizer_d.step()
    optimizer_g.step()
    if step % 100 == 0:
        print(f"{step:5d}  D {d_loss.item():.4f}  G {g_loss.item():.4f}")

with torch.no_grad():
    print("METRIC sliced_wasserstein", sliced(G(torch.randn(2000, 6)), pinwheel(2000)))
