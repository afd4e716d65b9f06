"""Digits with a small convolutional network and a home-made Trainer: callbacks, a plateau schedule, early stopping."""

import argparse
import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Callback:
    def on_epoch_end(self, trainer, logs):
        pass


class History(Callback):
    def __init__(self):
        self.rows = []

    def on_epoch_end(self, trainer, logs):
        self.rows.append(logs)
        if len(self.rows) % 4 == 0:
            print(" ".join(f"{k}={v:.4f}" for k, v in logs.items()))


class ReduceOnPlateau(Callback):
    def __init__(self, patience=2, factor=0.5):
        self.patience, self.factor = patience, factor

    def on_epoch_end(self, trainer, logs):
        if not hasattr(self, "scheduler"):
            self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                trainer.optimizer, factor=self.factor, patience=self.patience
            )
        self.scheduler.step(logs["val_loss"])


class EarlyStopping(Callback):
    def __init__(self, patience=6):
        self.patience, self.best, self.wait, self.state = patience, float("inf"), 0, None

    def on_epoch_end(self, trainer, logs):
        if logs["val_loss"] < self.best - 1e-4:
            self.best, self.wait = logs["val_loss"], 0
            self.state = copy.deepcopy(trainer.model.state_dict())
            return
        self.wait += 1
        trainer.stop = self.wait >= self.patience


class Trainer:
    def __init__(self, model, optimizer, callbacks, max_norm=5.0):
        self.model, self.optimizer, self.callbacks = model, optimizer, callbacks
        self.max_norm, self.stop = max_norm, False

    def training_step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def evaluate(self, loader):
        self.model.eval()
        outputs = [(self.model(x), y) for x, y in loader]
        logits, y = torch.cat([o for o, _ in outputs]), torch.cat([y for _, y in outputs])
        return F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).float().mean().item()

    def fit(self, train_loader, val_loader, max_epochs):
        for _ in range(max_epochs):
            self.model.train()
            losses = [self.training_step(x, y) for x, y in train_loader]
            val_loss, val_acc = self.evaluate(val_loader)
            logs = {"loss": float(np.mean(losses)), "val_loss": val_loss, "val_acc": val_acc}
            for callback in self.callbacks:
                callback.on_epoch_end(self, logs)
            if self.stop:
                break


def build_model():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(24 * 16, 10),
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(args.seed))
    train, val, test = order[:700], order[700:1100], order[1100:]
    train_loader = DataLoader(TensorDataset(images[train], labels[train]), batch_size=50, shuffle=True)
    val_loader = DataLoader(TensorDataset(images[val], labels[val]), batch_size=200)
    test_loader = DataLoader(TensorDataset(images[test], labels[test]), batch_size=200)

    model = build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.04, momentum=0.9, nesterov=True)
    stopper = EarlyStopping()
    trainer = Trainer(model, optimizer, [History(), ReduceOnPlateau(), stopper])
    trainer.fit(train_loader, val_loader, max_epochs=40)
    model.load_state_dict(stopper.state)
    print("METRIC test_accuracy", trainer.evaluate(test_loader)[1])


if __name__ == "__main__":
    main()
