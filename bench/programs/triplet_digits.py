"""Triplet loss with semi-hard mining on digits; retrieval precision at the end."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import normalize


class Embedder(nn.Module):
    def __init__(self, out=16):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, out))

    def forward(self, x):
        return normalize(self.f(x), dim=-1)


def mine(embedding, labels, margin):
    """For each anchor a random positive and the hardest negative within the margin."""
    with torch.no_grad():
        d = torch.cdist(embedding, embedding)
        same = labels[:, None] == labels[None, :]
        same.fill_diagonal_(False)
        anchor = torch.arange(len(labels))
        positive = (torch.rand_like(d) * same).argmax(1)
        d_pos = d[anchor, positive]
        candidate = d.masked_fill((labels[:, None] == labels[None, :]) | (d < d_pos[:, None]), 1e9)
        negative = candidate.argmin(1)
        keep = same.any(1) & (candidate.min(1).values < 1e8)
    return anchor[keep], positive[keep], negative[keep]


def precision_at_1(embedding, labels):
    d = torch.cdist(embedding, embedding)
    d.fill_diagonal_(torch.inf)
    return (labels[d.argmin(1)] == labels).float().mean().item()


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--steps", type=int, default=600)
args = parser.parse_args()
torch.manual_seed(args.seed)
data = load_digits()
x = torch.tensor(data.data, dtype=torch.float32) / 16
x = x + 0.3 * torch.randn_like(x)
y = torch.tensor(data.target)
order = torch.randperm(len(x))
x_train, y_train, x_test, y_test = x[order[:1300]], y[order[:1300]], x[order[1300:]], y[order[1300:]]

net = Embedder()
criterion = nn.TripletMarginLoss(margin=0.3)
optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
for step in range(args.steps):
    idx = torch.randint(0, len(x_train), (96,))
    z = net(x_train[idx])
    a, p, n = mine(z, y_train[idx], criterion.margin)
    loss = criterion(z[a], z[p], z[n])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"{step + 1} triplets {len(a)} loss {loss.item():.4f}")

net.eval()
with torch.no_grad():
    print("METRIC precision_at_1", precision_at_1(net(x_test), y_test))
