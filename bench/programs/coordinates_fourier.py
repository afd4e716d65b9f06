"""A picture as a function of its coordinates: Fourier features, full batch of pixels, half of them held out."""

import argparse
import math

import torch
import torch.nn as nn


def picture(xy):
    """Stripes, a chirp and a soft disc, in [-1, 1]."""
    x, y = xy.unbind(-1)
    disc = torch.sigmoid(25 * (0.3 - ((x - 0.6) ** 2 + (y - 0.4) ** 2).sqrt()))
    return (
        0.5 * torch.sin(2 * math.pi * 5 * (x + 0.5 * y)) + 0.3 * torch.sin(2 * math.pi * 4 * y * y) + 0.4 * disc - 0.2
    )


class FourierFeatures(nn.Module):
    def __init__(self, features=48, scale=2.5):
        super().__init__()
        self.register_buffer("frequencies", scale * torch.randn(2, features))

    def forward(self, xy):
        angle = 2 * math.pi * (xy @ self.frequencies)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


def build(features=48, width=64):
    return nn.Sequential(
        FourierFeatures(features),
        nn.Linear(2 * features, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )


def main(seed, steps=260, lr=5e-3):
    torch.manual_seed(seed)
    axis = torch.linspace(0, 1, 40)
    xy = torch.cartesian_prod(axis, axis)
    value = picture(xy)[:, None]
    order = torch.randperm(len(xy))
    seen, unseen = order[:1000], order[1000:]
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(1, steps + 1):
        loss = (model(xy[seen]) - value[seen]).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 65 == 0:
            with torch.no_grad():
                held_out = (model(xy[unseen]) - value[unseen]).pow(2).mean()
            print(f"step {step} train psnr {-10 * loss.log10():.1f} dB, held out {-10 * held_out.log10():.1f} dB")
    with torch.no_grad():
        print("METRIC rmse", (model(xy[unseen]) - value[unseen]).pow(2).mean().sqrt().item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
