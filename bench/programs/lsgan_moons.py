"""Least-squares GAN on two moons, with the networks and the loop in one class."""

import argparse
import itertools

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import make_moons


def mlp(*sizes):
    layers = []
    for i, o in itertools.pairwise(sizes):
        layers.extend([nn.Linear(i, o), nn.LeakyReLU(0.2)])
    return nn.Sequential(*layers[:-1])


class LSGAN:
    def __init__(self, noise=4, lr_g=1e-3, lr_d=1e-3):
        self.noise = noise
        self.G = mlp(noise, 64, 64, 2)
        self.D = mlp(2, 64, 64, 1)
        self.opt_g = torch.optim.Adam(self.G.parameters(), lr=lr_g, betas=(0.5, 0.9))
        self.opt_d = torch.optim.Adam(self.D.parameters(), lr=lr_d, betas=(0.5, 0.9))

    def generate(self, n):
        return self.G(torch.randn(n, self.noise))

    def step_discriminator(self, real):
        fake = self.generate(len(real)).detach()
        out_real, out_fake = self.D(real), self.D(fake)
        loss = 0.5 * F.mse_loss(out_real, torch.ones_like(out_real)) + 0.5 * F.mse_loss(
            out_fake, torch.zeros_like(out_fake)
        )
        self.opt_d.zero_grad()
        loss.backward()
        self.opt_d.step()
        return loss.item()

    def step_generator(self, n):
        out = self.D(self.generate(n))
        loss = F.mse_loss(out, torch.ones_like(out))
        self.opt_g.zero_grad()
        loss.backward()
        self.opt_g.step()
        return loss.item()

    def fit(self, data, iterations=1200, batch_size=128):
        for it in range(iterations):
            real = data[torch.randint(0, len(data), (batch_size,))]
            d = self.step_discriminator(real)
            g = self.step_generator(batch_size)
            if it % 200 == 0:
                print(f"{it}: D {d:.4f} G {g:.4f}")


def energy_distance(a, b):
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.manual_seed(seed)
    points, _ = make_moons(4000, noise=0.06, random_state=seed)
    points = torch.from_numpy(points.astype(np.float32))
    points = (points - points.mean(0)) / points.std(0)
    gan = LSGAN()
    gan.fit(points[:3000])
    with torch.no_grad():
        print("METRIC energy_distance", energy_distance(gan.generate(1000), points[3000:]))


if __name__ == "__main__":
    main()
