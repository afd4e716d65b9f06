"""WGAN with clamped weights, RMSprop and five critic steps; the data are sine waves of 24 samples."""

import argparse
import itertools
import math

import torch

CRITIC_STEPS, LATENT, LENGTH = 5, 8, 24


def waves(n):
    """Random frequency, phase and amplitude."""
    t = torch.arange(LENGTH) / LENGTH
    frequency = 1 + 2 * torch.rand(n, 1)
    phase = 2 * math.pi * torch.rand(n, 1)
    return (0.5 + 0.5 * torch.rand(n, 1)) * torch.sin(2 * math.pi * frequency * t + phase)


def net(*sizes):
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.LeakyReLU(0.1)]
    return torch.nn.Sequential(*layers[:-1])


def spectrum_distance(a, b):
    """Between the mean power spectra, relative, and between the spreads of the batches."""
    pa, pb = (torch.fft.rfft(x).abs().pow(2).mean(0) for x in (a, b))
    spread = (torch.pdist(a[:500]).mean() - torch.pdist(b[:500]).mean()).abs() / torch.pdist(b[:500]).mean()
    return ((pa - pb).abs().sum() / pb.sum() + spread).item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=450)
    parser.add_argument("--clamp", type=float, default=0.08)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--critic-rate", type=float, default=1e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator, critic = net(LATENT, 64, 64, LENGTH), net(LENGTH, 64, 64, 1)
    g_optimizer = torch.optim.RMSprop(generator.parameters(), lr=args.rate)
    c_optimizer = torch.optim.RMSprop(critic.parameters(), lr=args.critic_rate)
    for round_ in range(args.rounds):
        for _ in range(CRITIC_STEPS):
            c_optimizer.zero_grad()
            noise = torch.randn(64, LATENT)
            made = generator(noise).detach()
            loss = critic(made).mean() - critic(waves(64)).mean()
            loss.backward()
            c_optimizer.step()
            with torch.no_grad():
                for weight in critic.parameters():
                    weight.clamp_(-args.clamp, args.clamp)
        g_optimizer.zero_grad()
        noise = torch.randn(64, LATENT)
        g_loss = -critic(generator(noise)).mean()
        g_loss.backward()
        g_optimizer.step()
        if round_ % 50 == 0:
            print(round_, f"critic {-loss.item():.4f}")
    with torch.no_grad():
        print("METRIC spectrum_distance", spectrum_distance(generator(torch.randn(2000, LATENT)), waves(2000)))
