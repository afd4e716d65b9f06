"""Metric learning with an additive-margin cosine softmax; unseen digits are told apart by their nearest neighbours."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Embedder(nn.Sequential):
    def __init__(self, dim=16):
        super().__init__(nn.Linear(64, 96), nn.PReLU(), nn.Linear(96, 48), nn.PReLU(), nn.Linear(48, dim))


class MarginHead(nn.Module):
    """Scaled cosines to a prototype per class; the right one is handicapped by the margin."""

    def __init__(self, dim, classes, scale=12.0, margin=0.2):
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(classes, dim))
        self.scale, self.margin = scale, margin

    def forward(self, embedding, label):
        cosine = F.normalize(embedding) @ F.normalize(self.prototypes).T
        return self.scale * (cosine - self.margin * F.one_hot(label, len(self.prototypes)))


def balanced_batches(labels, per_class, count, rng):
    """So many of every class in every batch."""
    pools = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    for _ in range(count):
        yield np.concatenate([rng.choice(pool, per_class, replace=False) for pool in pools])


def recall_at_1(embedding, label):
    similarity = F.normalize(embedding) @ F.normalize(embedding).T
    similarity.fill_diagonal_(-2)
    return (label[similarity.argmax(1)] == label).float().mean().item()


def main():
    cli = argparse.ArgumentParser()
    cli.add_argument("--seed", type=int, default=0)
    opt = cli.parse_args()
    rng = np.random.default_rng(opt.seed)
    torch.manual_seed(opt.seed)
    data = load_digits()
    noise = rng.normal(scale=0.2, size=data.data.shape)
    x = torch.tensor(data.data / 16 - 0.3 + noise, dtype=torch.float32)
    y = data.target
    order = rng.permutation(len(y))
    train, test = order[:900], order[900:]

    embedder, head = Embedder(), MarginHead(16, 10)
    optimizer = torch.optim.AdamW(
        [
            {"params": embedder.parameters(), "lr": 2e-3, "weight_decay": 1e-3},
            {"params": head.parameters(), "lr": 1e-2, "weight_decay": 0.0},
        ]
    )
    for i, batch in enumerate(balanced_batches(y[train], 6, 350, rng)):
        rows = train[batch]
        target = torch.from_numpy(y[rows])
        optimizer.zero_grad()
        loss = F.cross_entropy(head(embedder(x[rows]), target), target)
        loss.backward()
        optimizer.step()
        if i % 70 == 0:
            print(f"{i:4d}  loss {loss.item():.3f}")
    with torch.no_grad():
        print("METRIC recall_at_1", recall_at_1(embedder(x[test]), torch.from_numpy(y[test])))


if __name__ == "__main__":
    main()
