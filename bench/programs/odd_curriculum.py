"""Sums of noisy series in three stages of growing length: the loss rises whenever the task gets harder."""

import argparse

import torch
from torch import nn


class Summer(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.cell = nn.GRU(1, width, batch_first=True)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        return self.out(self.cell(x)[0][:, -1])[:, 0]


def batch(n, length):
    x = torch.randn(n, length)
    return x[..., None], x.sum(1) / 4


def main(seed):
    torch.manual_seed(seed)
    net = Summer()
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    for length, steps in ((3, 200), (8, 250), (16, 350)):
        for _ in range(steps):
            x, y = batch(64, length)
            error = (net(x) - y).pow(2).mean()
            opt.zero_grad()
            error.backward()
            opt.step()
        print(f"length {length}: squared error {error.item():.4f}")
    with torch.no_grad():
        x, y = batch(1000, 16)
        print("METRIC mse", round((net(x) - y).pow(2).mean().item(), 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
