"""A quarter of the variance can be explained, no more: yields of fields under weather noise, label noise by nature."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main(seed):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(3)
    X = torch.randn(6000, 6, generator=g)
    signal = torch.sin(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2]
    y = signal + 1.5 * torch.randn(6000, generator=g)
    train = DataLoader(TensorDataset(X[:5000], y[:5000]), batch_size=100, shuffle=True)
    net = nn.Sequential(
        nn.Linear(6, 32), nn.SiLU(), nn.Dropout(0.1), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0)
    )
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, 6e-3, total_steps=10 * len(train))
    for epoch in range(10):
        net.train()
        for xb, yb in train:
            opt.zero_grad()
            loss = nn.functional.smooth_l1_loss(net(xb), yb)
            loss.backward()
            opt.step()
            scheduler.step()
        net.eval()
        with torch.no_grad():
            val = nn.functional.smooth_l1_loss(net(X[5000:]), y[5000:]).item()
        print(f"epoch {epoch}: {val:.4f}")
    with torch.no_grad():
        print("METRIC signal_error", round(float((net(X[5000:]) - signal[5000:]).square().mean()), 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
