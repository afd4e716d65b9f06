"""Contrastive predictive coding on waveforms, judged by a linear probe on the frozen context."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

KINDS, LENGTH, STRIDE = 5, 96, 6


def waves(n, rng):
    """Each kind has a pair of frequencies; phases, amplitudes and an offset are random."""
    kind = rng.integers(0, KINDS, n)
    t = np.arange(LENGTH)
    low = np.sin(2 * np.pi * (0.02 + 0.012 * kind[:, None]) * t + 2 * np.pi * rng.random((n, 1)))
    high = np.sin(2 * np.pi * (0.21 - 0.03 * kind[:, None]) * t + 2 * np.pi * rng.random((n, 1)))
    x = rng.uniform(0.5, 1.5, (n, 1)) * (low + 0.6 * high) + 0.3 * rng.normal(size=(n, LENGTH))
    return x.astype(np.float32), kind


class CPC(nn.Module):
    def __init__(self, width=32, ahead=(1, 2, 3)):
        super().__init__()
        self.ahead = ahead
        self.encoder = nn.Sequential(
            nn.Conv1d(1, width, 2 * STRIDE, stride=STRIDE), nn.GELU(), nn.Conv1d(width, width, 1)
        )
        self.context = nn.GRU(width, width, batch_first=True)
        self.predict = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in ahead)

    def encode(self, x):
        z = self.encoder(x[:, None]).transpose(1, 2)
        return z, self.context(z)[0]

    def loss(self, x, temperature=0.2):
        z, c = self.encode(x)
        z = F.normalize(z, dim=-1)
        total = 0.0
        for k, head in zip(self.ahead, self.predict, strict=True):
            guess = F.normalize(head(c[:, :-k]), dim=-1)
            scores = torch.einsum("itd,jtd->tij", guess, z[:, k:]) / temperature
            target = torch.arange(len(x)).expand(scores.shape[0], -1)
            total = total + F.cross_entropy(scores.flatten(0, 1), target.flatten())
        return total / len(self.ahead)


def probe(model, train, test):
    with torch.no_grad():
        features = [model.encode(torch.from_numpy(x))[1][:, -1].numpy() for x, _ in (train, test)]
    classifier = LogisticRegression(max_iter=300).fit(np.nan_to_num(features[0]), train[1])
    return classifier.score(np.nan_to_num(features[1]), test[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    unlabelled, train, test = waves(1000, rng)[0], waves(100, rng), waves(400, rng)
    model = CPC()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-4)
    for epoch in range(args.epochs):
        model.train()
        for rows in np.array_split(rng.permutation(len(unlabelled)), len(unlabelled) // args.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = model.loss(torch.from_numpy(unlabelled[rows]))
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} InfoNCE {loss.item():.3f}")
    model.eval()
    print("METRIC probe_accuracy", probe(model, train, test))


if __name__ == "__main__":
    main()
