"""Multi-label tagging: each row may carry any of eight tags."""

import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


def make_rows(n):
    """Each tag depends on a few of the twenty columns, which have their own units."""
    x = torch.randn(n, 20)
    score = 1.5 * x[:, :8] + x[:, 8:16] * x[:, 1:9] - x[:, 12:20]
    return 4 + 2 * x, (score > 1).float()


class Tagger(nn.Module):
    def __init__(self, features, tags, width=48):
        super().__init__()
        self.bn = nn.BatchNorm1d(features)
        self.l1 = nn.Linear(features, width)
        self.l2 = nn.Linear(width, width)
        self.l3 = nn.Linear(width, tags)

    def forward(self, x):
        x = self.bn(x)
        x = F.leaky_relu(self.l1(x))
        x = F.leaky_relu(self.l2(x))
        return self.l3(x)


def run(seed, lr=0.02, epochs=20, batch_size=40):
    torch.manual_seed(seed)
    x, y = make_rows(2000)
    dataset = TensorDataset(x, y)
    train, held_out = random_split(dataset, [1500, 500], generator=torch.Generator().manual_seed(seed))
    net = Tagger(20, 8)
    optimiser = torch.optim.Adagrad(net.parameters(), lr=lr)
    loader = DataLoader(train, batch_size=batch_size, shuffle=True)
    test_x, test_y = held_out[:]
    for epoch in range(epochs):
        net.train()
        for xb, yb in loader:
            logits = net(xb)
            loss = F.binary_cross_entropy_with_logits(logits, yb)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            test_loss = F.binary_cross_entropy_with_logits(net(test_x), test_y).item()
        assert not math.isinf(test_loss)
        print(f"{epoch=} train={loss.item():.4f} test={test_loss:.4f}")
    return test_loss


if __name__ == "__main__":
    cli = argparse.ArgumentParser()
    cli.add_argument("--seed", type=int, default=0)
    print("METRIC log_loss", run(cli.parse_args().seed))
