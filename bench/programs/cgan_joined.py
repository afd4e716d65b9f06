"""Conditional GAN on three blobs: real and made rows go through the discriminator in one call, with their classes."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F

CLASSES, BATCH = 3, 96
CENTRES = torch.tensor([[-1.5, 0.0], [1.2, 1.0], [0.4, -1.4]])
SHAPES = torch.tensor([[[0.5, 0.0], [0.3, 0.2]], [[0.2, 0.0], [0.0, 0.6]], [[0.6, 0.0], [-0.3, 0.1]]])


def draw(n):
    y = torch.randint(0, CLASSES, (n,))
    x = CENTRES[y] + (torch.randn(n, 1, 2) @ SHAPES[y].transpose(1, 2))[:, 0]
    return x, F.one_hot(y, CLASSES).float()


class Conditional(nn.Module):
    def __init__(self, inputs, outputs, width=48):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs + CLASSES, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, outputs),
        )

    def forward(self, x, y):
        return self.net(torch.cat([x, y], dim=1))


def gradient_norm(discriminator, x, y):
    x = x.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(x, y).sum(), x, create_graph=True)
    return slope.pow(2).sum(1).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--g-rate", type=float, default=2e-3)
    parser.add_argument("--d-rate", type=float, default=2e-3)
    parser.add_argument("--latent", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator, discriminator = Conditional(args.latent, 2), Conditional(2, 1)
    g_opt = torch.optim.Adam(generator.parameters(), lr=args.g_rate, betas=(0.0, 0.99))
    d_opt = torch.optim.Adam(discriminator.parameters(), lr=args.d_rate, betas=(0.0, 0.99))
    for step in range(args.steps):
        x, y = draw(BATCH)
        with torch.no_grad():
            made = generator(torch.randn(BATCH, args.latent), y)
        scores = discriminator(torch.cat([x, made]), torch.cat([y, y]))
        real_score, made_score = scores.chunk(2)
        d_loss = (
            F.softplus(-real_score).mean() + F.softplus(made_score).mean() + 0.1 * gradient_norm(discriminator, x, y)
        )
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()

        _, y = draw(BATCH)
        g_loss = F.softplus(-discriminator(generator(torch.randn(BATCH, args.latent), y), y)).mean()
        g_opt.zero_grad()
        g_loss.backward()
        g_opt.step()
        if step % 100 == 0:
            print(f"step {step}: d {d_loss.item():.3f} g {g_loss.item():.3f}")

    torch.manual_seed(1234)
    x, y = draw(1500)
    with torch.no_grad():
        made = generator(torch.randn(1500, args.latent), y)
    a, b = torch.cat([x, 3 * y], 1), torch.cat([made, 3 * y], 1)
    print(
        "METRIC energy_distance",
        (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item(),
    )


if __name__ == "__main__":
    main()
