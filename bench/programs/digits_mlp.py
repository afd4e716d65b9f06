"""Handwritten digits with a dropout MLP, configured by a dataclass."""

import argparse
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    hidden: int = 96
    dropout: float = 0.2
    lr: float = 0.05
    momentum: float = 0.9
    batch_size: int = 64
    epochs: int = 30
    seed: int = 0


class DigitNet(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.fc1 = nn.Linear(64, cfg.hidden)
        self.fc2 = nn.Linear(cfg.hidden, cfg.hidden)
        self.out = nn.Linear(cfg.hidden, 10)
        self.drop = nn.Dropout(cfg.dropout)

    def forward(self, x):
        x = self.drop(F.relu(self.fc1(x)))
        x = self.drop(F.relu(self.fc2(x)))
        return self.out(x)


def get_data(cfg):
    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X / 16.0, dtype=torch.float32)
    X = (X - X.mean()) / X.std()
    y = torch.tensor(y)
    perm = torch.randperm(len(X), generator=torch.Generator().manual_seed(cfg.seed))
    train, test = perm[:1200], perm[1200:]
    train_set = TensorDataset(X[train], y[train])
    test_set = TensorDataset(X[test], y[test])
    return (
        DataLoader(train_set, batch_size=cfg.batch_size, shuffle=True),
        DataLoader(test_set, batch_size=256),
    )


def evaluate(model, loader):
    model.eval()
    total, correct, loss_sum = 0, 0, 0.0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss_sum += F.cross_entropy(logits, y, reduction="sum").item()
            correct += (logits.argmax(1) == y).sum().item()
            total += len(y)
    return loss_sum / total, correct / total


def main(cfg):
    torch.manual_seed(cfg.seed)
    train_loader, test_loader = get_data(cfg)
    model = DigitNet(cfg)
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=cfg.momentum)
    for epoch in range(cfg.epochs):
        model.train()
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
        val_loss, val_acc = evaluate(model, test_loader)
        print(f"[{epoch:02d}] train {running / len(train_loader):.4f} val {val_loss:.4f} acc {val_acc:.4f}")
    print("METRIC log_loss", round(val_loss, 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(Config(seed=parser.parse_args().seed))
