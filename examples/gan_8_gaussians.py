"""Two optimizers: a generative adversarial network learns a ring of eight Gaussians.

The losses compare real and generated points in pairs, and the discriminator's gradient is held small at both.
"""

import math

import torch
from torch import nn

torch.manual_seed(0)
BATCH, LATENT, STEPS = 256, 8, 1500
angles = torch.arange(8) * (2 * math.pi / 8)
centers = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)


def real_points(count: int) -> torch.Tensor:
    return centers[torch.randint(0, 8, (count,))] + 0.05 * torch.randn(count, 2)


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, outputs)
    )


def gradient_penalty(scores: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    return gradient.square().sum(1).mean()


generator, discriminator = mlp(LATENT, 2), mlp(2, 1)
generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.99))
discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.0, 0.99))

for step in range(STEPS):
    penalty_weight = 2 * 0.01 ** min(1.0, 2 * step / STEPS)
    real = real_points(BATCH).requires_grad_()
    fake = generator(torch.randn(BATCH, LATENT)).detach().requires_grad_()
    real_score, fake_score = discriminator(real), discriminator(fake)
    penalty = gradient_penalty(real_score, real) + gradient_penalty(fake_score, fake)
    discriminator_loss = nn.functional.softplus(fake_score - real_score).mean() + penalty_weight / 2 * penalty
    discriminator_optimizer.zero_grad()
    discriminator_loss.backward()
    discriminator_optimizer.step()

    for parameter in discriminator.parameters():
        parameter.requires_grad_(False)
    fake_score = discriminator(generator(torch.randn(BATCH, LATENT)))
    generator_loss = nn.functional.softplus(discriminator(real_points(BATCH)) - fake_score).mean()
    generator_optimizer.zero_grad()
    generator_loss.backward()
    generator_optimizer.step()
    for parameter in discriminator.parameters():
        parameter.requires_grad_(True)

    if step % 250 == 0:
        print(f"step {step:4d}  discriminator {discriminator_loss.item():.3f}  generator {generator_loss.item():.3f}")

with torch.no_grad():
    samples = generator(torch.randn(2000, LATENT))
distance, nearest = torch.cdist(samples, centers).min(dim=1)
found = torch.bincount(nearest[distance < 0.25], minlength=8)
print(f"modes with at least 20 of 2,000 samples: {(found >= 20).sum().item()} of 8")
