"""Forecasting a noisy sum of sines eight steps ahead with an Elman network."""

import argparse
import math

import torch
import torch.nn as nn

CONTEXT = 12  # values seen before the first forecast


class Forecaster(nn.Module):
    def __init__(self, hidden_size=32):
        super().__init__()
        self.rnn = nn.RNN(1, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x):
        states, _ = self.rnn(x)
        return self.head(states[:, CONTEXT:])


def make_series(n, generator):
    t = torch.arange(n) * 0.12
    series = torch.sin(t) + 0.5 * torch.sin(2.7 * t + 1.0)
    return series + 0.05 * torch.randn(n, generator=generator)


def windows(series, length, ahead=8):
    chunks = series.unfold(0, length + ahead, 5)
    return chunks[:, :length, None], chunks[:, ahead + CONTEXT :, None]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)

    series = make_series(2400, g)
    train_x, train_y = windows(series[:1800], 40)
    test_x, test_y = windows(series[1800:], 40)

    net = Forecaster()
    loss_fn = nn.MSELoss()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)

    step = 0
    for epoch in range(25):
        order = torch.randperm(len(train_x))
        for idx in order.split(16):
            pred = net(train_x[idx])
            loss = loss_fn(pred, train_y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            step += 1
        with torch.inference_mode():
            test_loss = loss_fn(net(test_x), test_y).item()
        print(f"epoch {epoch} step {step} train {loss.item():.5f} test {test_loss:.5f} rmse {math.sqrt(test_loss):.4f}")
    print(f"METRIC mse {test_loss:.6f}")


main()
