"""Predict the 10 %, 50 % and 90 % quantiles of a demand with the pinball loss."""

import argparse

import numpy as np
import torch
from torch import nn

QUANTILES = torch.tensor([0.1, 0.5, 0.9])


def pinball(prediction, target, quantiles=QUANTILES):
    error = target.unsqueeze(1) - prediction
    return torch.maximum(quantiles * error, (quantiles - 1) * error).mean()


def demand(n, rng):
    day = rng.integers(0, 7, n)
    temperature = rng.normal(15, 8, n)
    price = rng.uniform(1, 3, n)
    mean = 40 + 12 * (day >= 5) + 0.9 * temperature - 9 * price + 0.05 * (temperature - 15) ** 2
    noise = rng.gamma(2.0, 2.0 + 1.5 * (day >= 5), n)
    x = np.column_stack([np.eye(7)[day], temperature, price])
    return x.astype(np.float32), (mean + noise).astype(np.float32)


class Scaler:
    def __init__(self, a):
        self.mean, self.std = a.mean(0), a.std(0)

    def __call__(self, a):
        return torch.from_numpy((a - self.mean) / self.std)


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--lr", type=float, default=2e-3)
parser.add_argument("--epochs", type=int, default=25)
opts = parser.parse_args()
torch.manual_seed(opts.seed)
rng = np.random.default_rng(opts.seed)
x, y = demand(2000, rng)
x_test, y_test = demand(800, rng)
scale_x, scale_y = Scaler(x), Scaler(y)
x, y, x_test, y_test = scale_x(x), scale_y(y), scale_x(x_test), scale_y(y_test)

net = nn.Sequential(nn.Linear(9, 40), nn.LeakyReLU(), nn.Linear(40, 40), nn.LeakyReLU(), nn.Linear(40, 3))
optimizer = torch.optim.AdamW(net.parameters(), lr=opts.lr)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3, factor=0.5)

for epoch in range(opts.epochs):
    net.train()
    for idx in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        loss = pinball(net(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        test_loss = pinball(net(x_test), y_test).item()
    plateau.step(test_loss)
    if epoch % 5 == 4:
        print(
            f"epoch {epoch + 1} train {loss.item():.4f} test {test_loss:.4f} lr {optimizer.param_groups[0]['lr']:.1e}"
        )
print("METRIC pinball", test_loss)
