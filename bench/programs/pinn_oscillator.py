"""Physics-informed network: a damped oscillator u'' + 0.4 u' + 2 u = 0, u(0) = 1, u'(0) = 0."""

import argparse
import math

import torch
from torch import nn

DAMPING, STIFFNESS = 0.2, 2.0


def exact(t):
    w = math.sqrt(STIFFNESS - DAMPING**2)
    return torch.exp(-DAMPING * t) * (torch.cos(w * t) + DAMPING / w * torch.sin(w * t))


class Field(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, t):
        return self.layers(t)


def derivative(u, t):
    return torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)[0]


def physics_loss(field, points=40, end=4.0):
    t = (torch.rand(points, 1) * end).requires_grad_()
    u = field(t)
    du = derivative(u, t)
    ddu = derivative(du, t)
    return ((ddu + 2 * DAMPING * du + STIFFNESS * u) ** 2).mean()


def boundary_loss(field):
    zero = torch.zeros(1, 1, requires_grad=True)
    u = field(zero)
    return ((u - 1) ** 2 + derivative(u, zero) ** 2).sum()


def main(seed, iterations=1500, lr=5e-3):
    torch.manual_seed(seed)
    field = Field()
    optimizer = torch.optim.Adam(field.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.998)
    for i in range(iterations):
        optimizer.zero_grad()
        physics = physics_loss(field)
        boundary = boundary_loss(field)
        loss = physics + 20 * boundary
        loss.backward()
        optimizer.step()
        scheduler.step()
        if i % 250 == 0:
            print(f"{i:5d} physics {physics.item():.5f} boundary {boundary.item():.5f}")
    t = torch.linspace(0, 4, 400)[:, None]
    with torch.no_grad():
        error = (field(t) - exact(t)).pow(2).mean().sqrt().item()
    print("METRIC rmse", error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
