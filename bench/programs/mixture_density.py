"""Mixture density network for an inverse problem with several answers."""

import argparse

import torch
import torch.nn as nn
from torch.distributions import Categorical, MixtureSameFamily, Normal


class MDN(nn.Module):
    def __init__(self, n_hidden=40, n_gaussians=6):
        super().__init__()
        self.z_h = nn.Sequential(nn.Linear(1, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_hidden), nn.Tanh())
        self.z_pi = nn.Linear(n_hidden, n_gaussians)
        self.z_mu = nn.Linear(n_hidden, n_gaussians)
        self.z_sigma = nn.Linear(n_hidden, n_gaussians)

    def forward(self, x):
        z = self.z_h(x)
        sigma = torch.exp(self.z_sigma(z).clamp(-6, 4))
        return MixtureSameFamily(Categorical(logits=self.z_pi(z)), Normal(self.z_mu(z), sigma))


def sample(n):
    y = torch.rand(n) * 2 - 1
    x = y + 0.6 * torch.sin(2 * torch.pi * y) + 0.05 * torch.randn(n)
    return x[:, None], y


def nll(model, x, y):
    return -model(x).log_prob(y).mean()


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--lr", type=float, default=5e-3)
parser.add_argument("--batch", type=int, default=100)
parser.add_argument("--epochs", type=int, default=40)
a = parser.parse_args()
torch.manual_seed(a.seed)
x_train, y_train = sample(1500)
x_test, y_test = sample(600)
network = MDN()
optimizer = torch.optim.Adam(network.parameters(), lr=a.lr)
for epoch in range(a.epochs):
    for idx in torch.randperm(len(x_train)).split(a.batch):
        loss = nll(network, x_train[idx], y_train[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 10 == 9:
        print(epoch + 1, loss.item())
with torch.no_grad():
    print("METRIC nll", nll(network, x_test, y_test).item())
