"""Multinomial logistic regression on wine with L-BFGS and a closure."""

import argparse

import torch
from sklearn.datasets import load_wine
from torch import nn, optim


def fit(model, x, y, steps, lr, l2):
    optimizer = optim.LBFGS(model.parameters(), lr=lr, max_iter=4, history_size=5)
    loss_fn = nn.CrossEntropyLoss()

    for step in range(steps):

        def closure():
            optimizer.zero_grad()
            loss = loss_fn(model(x), y) + l2 * sum((p**2).sum() for p in model.parameters())
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        if step % 25 == 0:
            print(f"step {step:3d}  objective {float(loss):.5f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--l2", type=float, default=1e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    x, y = load_wine(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)
    y = torch.tensor(y, dtype=torch.int64)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    x = (x - x[:110].mean(0)) / x[:110].std(0)
    model = nn.Linear(13, 3)
    fit(model, x[:110], y[:110], args.steps, args.lr, args.l2)
    with torch.no_grad():
        print("METRIC log_loss", nn.functional.cross_entropy(model(x[110:]), y[110:]).item())


if __name__ == "__main__":
    main()
