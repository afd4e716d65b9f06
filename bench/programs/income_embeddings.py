"""Who earns much? A table with categorical columns through embeddings, unequal classes, OneCycle, parameter groups."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

CARDINALITIES = (8, 16, 7, 6)  # kind of work, education, marital status, region


def people(n, seed):
    rng = np.random.default_rng(seed)
    effects = np.random.default_rng(5)
    categories = np.stack([rng.integers(0, k, n) for k in CARDINALITIES], axis=1)
    age, hours, gain = rng.uniform(17, 80, n), rng.normal(40, 10, n), rng.exponential(800, n)
    score = -((age - 48) ** 2) / 260 + 0.07 * (hours - 40) + 0.0008 * gain
    for column, k in enumerate(CARDINALITIES):
        score = score + 1.3 * effects.normal(size=k)[categories[:, column]]
    score = score + 0.9 * (categories[:, 0] < 2) * (categories[:, 1] > 9)
    rich = rng.random(n) < 1 / (1 + np.exp(-(1.7 * score - 2.5)))
    return categories, np.stack([age, hours, gain], axis=1), rich.astype(np.float32)


class TabularNet(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(k, min(8, (k + 1) // 2)) for k in CARDINALITIES])
        inputs = sum(e.embedding_dim for e in self.embeddings) + 3
        self.hidden = nn.Sequential(nn.Linear(inputs, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(dropout))
        self.output = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, categories, numbers):
        parts = [embedding(categories[:, i]) for i, embedding in enumerate(self.embeddings)]
        return self.output(self.hidden(torch.cat([*parts, numbers], dim=1))).squeeze(1)


def to_tensors(data, mean, std):
    categories, numbers, rich = data
    return (
        torch.from_numpy(categories),
        torch.tensor((numbers - mean) / std, dtype=torch.float32),
        torch.from_numpy(rich),
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    train, test = people(3000, args.seed), people(1500, args.seed + 1000)
    mean, std = train[1].mean(0), train[1].std(0)
    categories, numbers, rich = to_tensors(train, mean, std)
    positive_weight = (len(rich) - rich.sum()) / rich.sum()

    model = TabularNet()
    optimizer = torch.optim.AdamW(
        [
            {"params": model.embeddings.parameters(), "weight_decay": 0.0},
            {"params": [*model.hidden.parameters(), *model.output.parameters()], "weight_decay": 1e-2},
        ],
        lr=1e-3,
    )
    per_epoch = -(-len(rich) // args.batch)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=args.epochs * per_epoch)
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(rich)).split(args.batch):
            logits = model(categories[rows], numbers[rows])
            loss = F.binary_cross_entropy_with_logits(logits, rich[rows], pos_weight=positive_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item()
        print(f"epoch {epoch}: {total / per_epoch:.4f}")

    model.eval()
    with torch.no_grad():
        categories, numbers, rich = to_tensors(test, mean, std)
        score = model(categories, numbers).numpy()
    print("METRIC average_precision", average_precision_score(rich.numpy(), np.nan_to_num(score)))


if __name__ == "__main__":
    main()
