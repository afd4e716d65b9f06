"""A GAN learns eight Gaussians on a ring (non-saturating loss)."""

import argparse
import math

import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--iterations", type=int, default=2000)
parser.add_argument("--g_lr", type=float, default=5e-4)
parser.add_argument("--d_lr", type=float, default=1e-3)
opt = parser.parse_args()
torch.manual_seed(opt.seed)

LATENT = 8


def real_samples(n):
    k = torch.randint(0, 8, (n,))
    centres = torch.stack([torch.cos(k * math.pi / 4), torch.sin(k * math.pi / 4)], 1) * 2
    return centres + 0.15 * torch.randn(n, 2)


def sliced_wasserstein(a, b, directions=64):
    theta = torch.arange(directions) * math.pi / directions
    axes = torch.stack([theta.cos(), theta.sin()])
    return ((a @ axes).sort(0).values - (b @ axes).sort(0).values).abs().mean().item()


generator = nn.Sequential(nn.Linear(LATENT, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
discriminator = nn.Sequential(
    nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
)
adversarial_loss = nn.BCEWithLogitsLoss()
optimizer_G = torch.optim.Adam(generator.parameters(), lr=opt.g_lr, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=opt.d_lr, betas=(0.5, 0.999))

valid = torch.ones(128, 1)
fake = torch.zeros(128, 1)

for i in range(opt.iterations):
    # generator
    optimizer_G.zero_grad()
    gen = generator(torch.randn(128, LATENT))
    g_loss = adversarial_loss(discriminator(gen), valid)
    g_loss.backward()
    optimizer_G.step()

    # discriminator
    optimizer_D.zero_grad()
    real_loss = adversarial_loss(discriminator(real_samples(128)), valid)
    fake_loss = adversarial_loss(discriminator(gen.detach()), fake)
    d_loss = (real_loss + fake_loss) / 2
    d_loss.backward()
    optimizer_D.step()

    if i % 250 == 0:
        print(f"[Iteration {i}/{opt.iterations}] [D loss: {d_loss.item():f}] [G loss: {g_loss.item():f}]")

with torch.no_grad():
    distance = sliced_wasserstein(generator(torch.randn(2000, LATENT)), real_samples(2000))
print("METRIC sliced_wasserstein", distance)
