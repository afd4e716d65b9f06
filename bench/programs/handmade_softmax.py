# Wine cultivars. No DataLoader, no nn.CrossEntropyLoss: everything is written out.
import argparse

import numpy as np
import torch
from sklearn.datasets import load_wine


def one_hot(labels, classes):
    return np.eye(classes, dtype=np.float32)[labels]


def batches(x, y, size, rng):
    order = rng.permutation(len(x))
    for i in range(0, len(x), size):
        chunk = order[i : i + size]
        yield torch.from_numpy(x[chunk]), torch.from_numpy(y[chunk])


class Net(torch.nn.Module):
    def __init__(self, n_in, n_hidden, n_out):
        super().__init__()
        self.w1 = torch.nn.Parameter(torch.randn(n_in, n_hidden) * (2 / n_in) ** 0.5)
        self.b1 = torch.nn.Parameter(torch.zeros(n_hidden))
        self.w2 = torch.nn.Parameter(torch.randn(n_hidden, n_out) * (1 / n_hidden) ** 0.5)
        self.b2 = torch.nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        h = (x @ self.w1 + self.b1).clamp(min=0)
        z = h @ self.w2 + self.b2
        e = torch.exp(z - z.max(dim=1, keepdim=True).values)
        return e / e.sum(dim=1, keepdim=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--epochs", type=int, default=40)
    ap.add_argument("--lr", type=float, default=0.05)
    args = ap.parse_args()
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)

    x, labels = load_wine(return_X_y=True)
    y = one_hot(labels, 3)
    order = rng.permutation(len(x))
    train, test = order[:100], order[100:]
    mu, sd = x[train].mean(0), x[train].std(0)
    x = ((x - mu) / sd).astype(np.float32)

    net = Net(13, 32, 3)
    opt = torch.optim.Adagrad(net.parameters(), lr=args.lr, weight_decay=1e-3)
    for epoch in range(args.epochs):
        total = 0.0
        for xb, yb in batches(x[train], y[train], 10, rng):
            p = net(xb)
            loss = -(yb * torch.log(p + 1e-8)).sum(dim=1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(xb)
        if epoch % 8 == 0:
            print("epoch", epoch, "loss", round(total / len(train), 4))

    with torch.no_grad():
        p = net(torch.from_numpy(x[test]))
        nll = -(torch.from_numpy(y[test]) * torch.log(p + 1e-8)).sum(1).mean().item()
    print("METRIC nll", nll)


if __name__ == "__main__":
    main()
