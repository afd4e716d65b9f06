"""Wasserstein GAN with gradient penalty on a 3x3 grid of Gaussians."""

import argparse

import torch
from torch import autograd, nn, optim

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--iterations", type=int, default=350)
parser.add_argument("--critic-iters", type=int, default=4)
parser.add_argument("--lambda-gp", type=float, default=1.0)
parser.add_argument("--lr-g", type=float, default=2e-3)
parser.add_argument("--lr-d", type=float, default=2e-3)
args = parser.parse_args()
torch.manual_seed(args.seed)
BATCH, NOISE = 128, 4


def real_batch(n):
    centre = torch.randint(-1, 2, (n, 2)).float()
    return centre * 1.5 + 0.08 * torch.randn(n, 2)


class Net(nn.Module):
    def __init__(self, inputs, outputs, hidden=64):
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(True),
            nn.Linear(hidden, hidden),
            nn.ReLU(True),
            nn.Linear(hidden, outputs),
        )

    def forward(self, x):
        return self.main(x)


def gradient_penalty(critic, real, fake):
    alpha = torch.rand(len(real), 1)
    between = (alpha * real + (1 - alpha) * fake).requires_grad_()
    scores = critic(between)
    gradients = autograd.grad(scores, between, torch.ones_like(scores), create_graph=True, retain_graph=True)[0]
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def sliced_distance(a, b):
    angle = torch.linspace(0, 3.14159, 48)
    axes = torch.stack([angle.cos(), angle.sin()])
    return ((a @ axes).sort(0).values - (b @ axes).sort(0).values).abs().mean().item()


G, D = Net(NOISE, 2), Net(2, 1)
optimizer_g = optim.Adam(G.parameters(), lr=args.lr_g, betas=(0.5, 0.9))
optimizer_d = optim.Adam(D.parameters(), lr=args.lr_d, betas=(0.5, 0.9))

for iteration in range(args.iterations):
    for p in D.parameters():
        p.requires_grad = True
    for _ in range(args.critic_iters):
        real = real_batch(BATCH)
        fake = G(torch.randn(BATCH, NOISE)).detach()
        optimizer_d.zero_grad()
        penalty = args.lambda_gp * gradient_penalty(D, real, fake)
        critic_loss = D(fake).mean() - D(real).mean() + penalty
        critic_loss.backward()
        optimizer_d.step()

    for p in D.parameters():
        p.requires_grad = False
    optimizer_g.zero_grad()
    generator_loss = -D(G(torch.randn(BATCH, NOISE))).mean()
    generator_loss.backward()
    optimizer_g.step()
    if iteration % 50 == 0:
        print(f"{iteration} critic {critic_loss.item():.4f} generator {generator_loss.item():.4f}")

with torch.no_grad():
    print("METRIC sliced_wasserstein", sliced_distance(G(torch.randn(2000, NOISE)), real_batch(2000)))
