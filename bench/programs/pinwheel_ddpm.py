"""Denoising diffusion (DDPM) on a two-dimensional pinwheel.

Follows the usual recipe: linear beta schedule, a network that predicts the noise, MSE between predicted and true noise,
Adam. Afterwards a few points are drawn by ancestral sampling.
"""

import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

T = 100


def pinwheel(n, arms=5, generator=None):
    arm = torch.randint(0, arms, (n,), generator=generator)
    radial = 1.0 + 0.3 * torch.randn(n, generator=generator)
    tangential = 0.05 * torch.randn(n, generator=generator)
    angle = 2 * math.pi * arm / arms + 0.9 * torch.exp(radial - 1) * 0.5
    x = radial * torch.cos(angle) - tangential * torch.sin(angle)
    y = radial * torch.sin(angle) + tangential * torch.cos(angle)
    data = torch.stack([x, y], dim=1)
    return data / 0.75


class SinusoidalEmbedding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, t):
        half = self.dim // 2
        freqs = torch.exp(-math.log(1000) * torch.arange(half) / (half - 1))
        args = t[:, None].float() * freqs[None, :]
        return torch.cat([args.sin(), args.cos()], dim=1)


class ResidualBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.act = nn.SiLU()

    def forward(self, x, emb):
        return x + self.fc2(self.act(self.fc1(self.act(x + emb))))


class NoisePredictor(nn.Module):
    def __init__(self, width=80, n_blocks=3, emb_dim=16):
        super().__init__()
        self.time_mlp = nn.Sequential(SinusoidalEmbedding(emb_dim), nn.Linear(emb_dim, width), nn.SiLU())
        self.time_out = nn.Linear(width, width)
        self.inp = nn.Linear(2, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(n_blocks))
        self.out = nn.Linear(width, 2)

    def forward(self, x, t):
        emb = self.time_out(self.time_mlp(t))
        h = self.inp(x)
        for block in self.blocks:
            h = block(h, emb)
        return self.out(F.silu(h))


class Diffusion:
    def __init__(self, beta_start=1e-4, beta_end=0.06):
        self.betas = torch.linspace(beta_start, beta_end, T)
        self.alphas = 1 - self.betas
        self.alpha_bar = torch.cumprod(self.alphas, dim=0)

    def q_sample(self, x0, t, noise):
        a = self.alpha_bar[t].unsqueeze(1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def loss(self, model, x0):
        t = torch.randint(0, T, (len(x0),))
        noise = torch.randn_like(x0)
        predicted = model(self.q_sample(x0, t, noise), t)
        return F.mse_loss(predicted, noise)

    @torch.no_grad()
    def sample(self, model, n):
        x = torch.randn(n, 2)
        for step in reversed(range(T)):
            t = torch.full((n,), step)
            eps = model(x, t)
            x = (x - self.betas[step] / (1 - self.alpha_bar[step]).sqrt() * eps) / self.alphas[step].sqrt()
            if step > 0:
                x = x + self.betas[step].sqrt() * torch.randn_like(x)
        return x


@torch.no_grad()
def noise_error(diffusion, model, x0):
    """Error of the predicted noise at moderate t, where the shape of the data matters most."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for step in range(10, 60, 5):
        t = torch.full((len(x0),), step)
        noise = torch.randn(x0.shape, generator=generator)
        total += F.mse_loss(model(diffusion.q_sample(x0, t, noise), t), noise).item() / 10
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--batch_size", type=int, default=200)
    parser.add_argument("--lr", type=float, default=4e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    train_data = pinwheel(4000)
    test_data = pinwheel(1000)
    diffusion = Diffusion()
    model = NoisePredictor()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    steps_per_epoch = len(train_data) // args.batch_size
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)

    for epoch in range(args.epochs):
        model.train()
        losses = 0.0
        for x0 in train_data[torch.randperm(len(train_data))].split(args.batch_size):
            loss = diffusion.loss(model, x0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item()
        scheduler.step()
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1}: loss {losses / steps_per_epoch:.4f}")

    model.eval()
    samples = diffusion.sample(model, 300)
    distance = torch.cdist(samples, test_data).min(dim=1).values.mean().item()
    print(f"mean distance of a sample to its nearest neighbour in the test data: {distance:.3f}")
    print("METRIC test_noise_mse", noise_error(diffusion, model, test_data))


if __name__ == "__main__":
    main()
