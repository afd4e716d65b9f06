"""Predict a mean and a variance: the loss goes below zero, as a log density may."""

import argparse

import torch
from torch import nn

p = argparse.ArgumentParser()
p.add_argument("--seed", type=int, default=0)
p.add_argument("--lr", type=float, default=3e-3)
p.add_argument("--steps", type=int, default=900)
a = p.parse_args()
torch.manual_seed(a.seed)


def sample(n):
    x = torch.rand(n, 1) * 4 - 2
    noise = 0.02 + 0.1 * torch.sigmoid(3 * x)
    return x, torch.sin(2 * x) * 0.5 + noise * torch.randn(n, 1)


class MeanVariance(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(1, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.mean = nn.Linear(48, 1)
        self.raw_variance = nn.Linear(48, 1)

    def forward(self, x):
        h = self.trunk(x)
        return self.mean(h), nn.functional.softplus(self.raw_variance(h)) + 1e-6


x_train, y_train = sample(1500)
x_test, y_test = sample(500)
net = MeanVariance()
loss_fn = nn.GaussianNLLLoss()
optim = torch.optim.Adam(net.parameters(), a.lr)
for k in range(a.steps):
    i = torch.randint(0, 1500, (64,))
    mean, variance = net(x_train[i])
    loss = loss_fn(mean, y_train[i], variance)
    optim.zero_grad()
    loss.backward()
    optim.step()
    if k % 150 == 0:
        print(f"{k:5d} nll {loss.item():8.4f}")

with torch.no_grad():
    mean, variance = net(x_test)
    print("METRIC nll", loss_fn(mean, y_test, variance).item())
