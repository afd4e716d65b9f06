"""Wine cultivars with a Trainer-like class, callbacks and early stopping bookkeeping."""

from __future__ import annotations

import argparse
import logging

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

logging.basicConfig(level=logging.INFO, format="%(message)s")
log = logging.getLogger("wine")


class Standardise(nn.Module):
    def __init__(self, sample: Tensor):
        super().__init__()
        self.register_buffer("mean", sample.mean(0))
        self.register_buffer("std", sample.std(0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class WineNet(nn.Module):
    def __init__(self, sample: Tensor, hidden: int = 20):
        super().__init__()
        self.norm = Standardise(sample)
        self.body = nn.Sequential(nn.Linear(13, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())
        self.head = nn.Linear(hidden, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.norm(x))).log_softmax(dim=1)


class Trainer:
    def __init__(self, model: nn.Module, *, epochs: int, learning_rate: float):
        self.model = model
        self.epochs = epochs
        self.criterion = nn.NLLLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate)
        self.history: dict[str, list[float]] = {"loss": [], "val_loss": []}
        self.best = float("inf")

    def fit(self, train: DataLoader, valid: DataLoader) -> Trainer:
        for epoch in range(1, self.epochs + 1):
            self.history["loss"].append(self._epoch(train))
            self.history["val_loss"].append(self.evaluate(valid))
            self.best = min(self.best, self.history["val_loss"][-1])
            if epoch % 10 == 0:
                log.info("epoch %d loss %.4f val %.4f", epoch, self.history["loss"][-1], self.history["val_loss"][-1])
        return self

    def _epoch(self, loader: DataLoader) -> float:
        self.model.train()
        losses = []
        for features, target in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(features), target)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    @torch.inference_mode()
    def evaluate(self, loader: DataLoader) -> float:
        self.model.eval()
        parts = [(self.criterion(self.model(x), y).item(), len(y)) for x, y in loader]
        return sum(loss * n for loss, n in parts) / sum(n for _, n in parts)


def loaders(seed: int, batch_size: int) -> tuple[DataLoader, DataLoader]:
    features, target = load_wine(return_X_y=True)
    split = train_test_split(features, target, test_size=60, random_state=seed, stratify=target)
    x_train, x_valid, y_train, y_valid = map(torch.tensor, split)
    train = TensorDataset(x_train.float(), y_train)
    valid = TensorDataset(x_valid.float(), y_valid)
    return DataLoader(train, batch_size, shuffle=True), DataLoader(valid, 60)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.manual_seed(seed)
    train, valid = loaders(seed, batch_size=16)
    trainer = Trainer(WineNet(train.dataset.tensors[0]), epochs=60, learning_rate=2e-3).fit(train, valid)
    print(f"METRIC log_loss {trainer.history['val_loss'][-1]:.6f}")


if __name__ == "__main__":
    main()
