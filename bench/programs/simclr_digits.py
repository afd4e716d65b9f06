"""Contrastive pre-training (NT-Xent) on digits; a nearest-neighbour probe at the end."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


def augment(images):
    shift = torch.randint(-1, 2, (2,)).tolist()
    moved = torch.roll(images, shift, dims=(1, 2))
    keep = (torch.rand_like(moved) > 0.15).float()
    scale = 0.8 + 0.4 * torch.rand(len(images), 1, 1)
    return (moved * keep * scale + 0.1 * torch.randn_like(moved)).flatten(1)


class Encoder(nn.Module):
    def __init__(self, hidden=96, features=32, projection=16):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, features)
        )
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(features, projection))

    def forward(self, x):
        return F.normalize(self.projector(self.backbone(x)), dim=1)


def nt_xent(z1, z2, temperature):
    n = len(z1)
    z = torch.cat([z1, z2])
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e9)
    positives = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return F.cross_entropy(similarity, positives)


@torch.no_grad()
def knn_accuracy(encoder, train, test, k=5):
    encoder.eval()
    a = F.normalize(encoder.backbone(train[0].flatten(1)), dim=1)
    b = F.normalize(encoder.backbone(test[0].flatten(1)), dim=1)
    votes = train[1][(b @ a.T).topk(k).indices]
    encoder.train()
    return (votes.mode(1).values == test[1]).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images))
    images, labels = images[order], labels[order]
    train, test = (images[:1300], labels[:1300]), (images[1300:], labels[1300:])

    encoder = Encoder()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=args.lr)
    for step in range(args.steps):
        batch = train[0][torch.randint(0, 1300, (128,))]
        loss = nt_xent(encoder(augment(batch)), encoder(augment(batch)), args.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: nt-xent {loss.item():.4f}")
    # few labelled examples: the representation has to do the work
    few = (train[0][:60], train[1][:60])
    print("METRIC knn_accuracy", knn_accuracy(encoder, few, test, k=1))


if __name__ == "__main__":
    main()
