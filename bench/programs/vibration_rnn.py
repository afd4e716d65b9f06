"""Wear from vibrations: a plain recurrent network over long windows, clipped, small batches, full-batch check."""

import argparse

import torch
import torch.nn as nn


def machines(n, length, generator):
    """An oscillation that grows with wear; the target is the wear at the end, in [0, 1]."""
    wear = torch.rand(n, 1, generator=generator)
    t = torch.arange(length) / length
    envelope = 0.4 + 1.2 * wear * t
    phase = 6.28 * torch.rand(n, 1, generator=generator)
    signal = envelope * torch.sin(6.28 * 10 * t + phase) + 0.25 * torch.randn(n, length, generator=generator)
    return torch.stack([signal, signal.abs()], dim=2), wear


class WearNet(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.rnn = nn.RNN(2, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        _, last = self.rnn(x)
        return self.out(last[0])


def batches(x, y, size, generator):
    while True:
        for rows in torch.randperm(len(x), generator=generator).split(size):
            yield x[rows], y[rows]


def train(model, data, generator, steps=500, batch=16, lr=0.05, max_norm=0.3):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    stream = batches(*data, batch, generator)
    for step in range(steps):
        x, y = next(stream)
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        scheduler.step()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    data, (x_test, y_test) = machines(800, 40, generator), machines(400, 40, generator)
    model = WearNet()
    with torch.no_grad():
        nn.init.orthogonal_(model.rnn.weight_hh_l0)
    train(model, data, generator)
    with torch.no_grad():
        print("METRIC rmse", (model(x_test) - y_test).pow(2).mean().sqrt().item())
