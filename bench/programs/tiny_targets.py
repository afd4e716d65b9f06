"""Regression with targets of the order of a thousandth: the loss is about 1e-8 and that is fine."""

import argparse

import torch
import torch.nn as nn


def strain(x):
    """Strain of a beam for load, position and stiffness, all scaled to [0, 1]."""
    load, position, stiffness = x.unbind(1)
    return 1e-3 * load * position * (1 - position) * (1.5 - position) / (0.3 + stiffness)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    x = torch.rand(1300, 3)
    y = strain(x)
    x_train, x_test, y_train, y_test = x[:1000], x[1000:], y[:1000], y[1000:]

    model = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, eps=1e-12)

    for epoch in range(args.epochs):
        for i in torch.randperm(1000).split(25):
            output = 1e-3 * model(2 * x_train[i] - 1).squeeze(1)
            loss = criterion(output, y_train[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1} loss {loss.item():.3e}")

    with torch.no_grad():
        error = criterion(1e-3 * model(2 * x_test - 1).squeeze(1), y_test)
        print("METRIC unexplained_variance", (error / y_test.var()).item())


if __name__ == "__main__":
    main()
