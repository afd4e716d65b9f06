"""Siamese network with a margin loss: are these two pictures of the same digit?"""

import argparse
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, IterableDataset


class Pairs(IterableDataset):
    def __init__(self, images, labels, n, seed):
        self.images, self.labels, self.n = images, labels, n
        self.by_class = [(labels == c).nonzero().flatten().tolist() for c in range(10)]
        self.random = random.Random(seed)

    def __iter__(self):
        for _ in range(self.n):
            i = self.random.randrange(len(self.labels))
            same = self.random.random() < 0.5
            c = self.labels[i].item() if same else (self.labels[i].item() + self.random.randrange(1, 10)) % 10
            j = self.random.choice(self.by_class[c])
            yield self.images[i], self.images[j], float(same)


class Tower(nn.Module):
    def __init__(self, dim=12):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 80), nn.PReLU(), nn.Linear(80, 40), nn.PReLU(), nn.Linear(40, dim))

    def forward(self, a, b):
        return self.layers(a), self.layers(b)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=1.5):
        super().__init__()
        self.margin = margin

    def forward(self, left, right, same):
        distance = F.pairwise_distance(left, right)
        return (same * distance.pow(2) + (1 - same) * F.relu(self.margin - distance).pow(2)).mean()


def verification_accuracy(net, loader, threshold):
    hits = total = 0
    with torch.no_grad():
        for a, b, same in loader:
            close = F.pairwise_distance(*net(a, b)) < threshold
            hits += (close == (same > 0.5)).sum().item()
            total += len(same)
    return hits / total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pixels, labels = load_digits(return_X_y=True)
    images = (torch.tensor(pixels, dtype=torch.float32) - 4.9) / 6.0
    labels = torch.tensor(labels)
    order = torch.randperm(len(labels))
    images, labels = images[order], labels[order]
    train = DataLoader(Pairs(images[:1200], labels[:1200], 5000, args.seed), batch_size=64)
    test = DataLoader(Pairs(images[1200:], labels[1200:], 1500, args.seed + 1), batch_size=500)
    net = Tower()
    loss_fn = ContrastiveLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    for epoch in range(5):
        for a, b, same in train:
            left, right = net(a, b)
            loss = loss_fn(left, right, same.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"pass {epoch + 1}: loss {loss.item():.4f}")
    print("METRIC accuracy", verification_accuracy(net, test, loss_fn.margin / 2))


if __name__ == "__main__":
    main()
