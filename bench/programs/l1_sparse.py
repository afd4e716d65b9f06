"""Sparse linear regression: squared error plus an L1 penalty, 60 columns of which 6 matter."""

import argparse

import torch
from torch.utils.data import DataLoader, TensorDataset


class SparseRegression(torch.nn.Module):
    def __init__(self, columns, penalty):
        super().__init__()
        self.coef = torch.nn.Parameter(torch.zeros(columns))
        self.intercept = torch.nn.Parameter(torch.zeros(()))
        self.penalty = penalty

    def forward(self, x):
        return x @ self.coef + self.intercept

    def loss(self, x, y):
        return torch.nn.functional.mse_loss(self(x), y) + self.penalty * self.coef.abs().sum()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--penalty", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=0.01)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    truth = torch.zeros(60)
    truth[torch.randperm(60)[:6]] = torch.tensor([3.0, -2.0, 2.0, 1.5, -1.0, 1.0])
    x = torch.randn(1200, 60)
    y = x @ truth + 5.0 + torch.randn(1200)
    x_train, y_train, x_test, y_test = x[:200], y[:200], x[200:], y[200:]

    model = SparseRegression(60, args.penalty)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=20, shuffle=True)
    for epoch in range(100):
        for xb, yb in loader:
            loss = model.loss(xb, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 20 == 19:
            with torch.no_grad():
                nonzero = (model.coef.abs() > 0.05).sum().item()
                print(f"epoch {epoch + 1}: objective {loss.item():.4f}, {nonzero} columns in use")
    with torch.no_grad():
        print("METRIC mse", torch.nn.functional.mse_loss(model(x_test), y_test).item())


if __name__ == "__main__":
    main()
