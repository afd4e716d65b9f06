"""Wasserstein GAN with clamped weights on 8x8 digits of three kinds, RMSprop, several critic steps per generator step."""

import argparse

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

KINDS = (0, 1, 7)


def real_digits():
    pixels, label = load_digits(return_X_y=True)
    keep = sum(label == kind for kind in KINDS) > 0
    return torch.tensor(pixels[keep] / 8 - 1, dtype=torch.float32), torch.tensor(label[keep])


def sliced_distance(a, b, directions=200):
    """Mean Wasserstein distance of one-dimensional projections."""
    axes = torch.randn(a.shape[1], directions, generator=torch.Generator().manual_seed(0))
    axes = axes / axes.norm(dim=0)
    n = min(len(a), len(b))
    return ((a[:n] @ axes).sort(0).values - (b[:n] @ axes).sort(0).values).abs().mean().item()


def make_networks(latent=12):
    generator = nn.Sequential(
        nn.Linear(latent, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 64), nn.Tanh()
    )
    critic = nn.Sequential(nn.Linear(64, 96), nn.LeakyReLU(0.2), nn.Linear(96, 96), nn.LeakyReLU(0.2), nn.Linear(96, 1))
    return generator, critic


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=350)
    parser.add_argument("--n_critic", type=int, default=3)
    parser.add_argument("--clip", type=float, default=0.06)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    real, _ = real_digits()
    generator, critic = make_networks()
    opt_g = torch.optim.RMSprop(generator.parameters(), lr=1e-3)
    opt_c = torch.optim.RMSprop(critic.parameters(), lr=1e-3)
    for r in range(args.rounds):
        for _ in range(args.n_critic):
            batch = real[torch.randint(0, len(real), (64,))]
            with torch.no_grad():
                made = generator(torch.randn(64, 12))
            critic_loss = critic(made).mean() - critic(batch).mean()
            opt_c.zero_grad()
            critic_loss.backward()
            opt_c.step()
            for p in critic.parameters():
                p.data.clamp_(-args.clip, args.clip)
        generator_loss = -critic(generator(torch.randn(64, 12))).mean()
        opt_g.zero_grad()
        generator_loss.backward()
        opt_g.step()
        if r % 70 == 0:
            print(f"round {r}: critic {critic_loss.item():+.4f} generator {generator_loss.item():+.4f}")
    with torch.no_grad():
        samples = generator(torch.randn(len(real), 12))
    print("METRIC sliced_distance", sliced_distance(samples, real))


if __name__ == "__main__":
    main()
