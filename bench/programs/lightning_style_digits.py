"""Digits with a module that defines its own steps, fitted by a small trainer: closure, sanity check, augmentation on the fly."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __init__(self, images, labels, augment):
        self.images, self.labels, self.augment = images, labels, augment

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        if self.augment:
            image = torch.roll(image, tuple(torch.randint(-1, 2, (2,)).tolist()), (1, 2))
        return image, self.labels[i]


class LitDigits(nn.Module):
    def __init__(self, learning_rate=2e-3):
        super().__init__()
        self.learning_rate = learning_rate
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
        )
        self.head = nn.Linear(512, 10)

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch):
        x, y = batch
        logits = self(x)
        return F.cross_entropy(logits, y)

    def validation_step(self, batch):
        x, y = batch
        logits = self(x)
        return F.cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


class Trainer:
    def __init__(self, max_epochs):
        self.max_epochs = max_epochs

    def validate(self, module, loader, batches=None):
        module.eval()
        rows = []
        with torch.no_grad():
            for i, batch in enumerate(loader):
                if batches is not None and i >= batches:
                    break
                rows.append(module.validation_step(batch))
        module.train()
        loss, accuracy = (torch.stack(column).mean().item() for column in zip(*rows, strict=True))
        return loss, accuracy

    def fit(self, module, train_loader, val_loader):
        self.validate(module, val_loader, batches=2)
        optimizer = module.configure_optimizers()
        for epoch in range(self.max_epochs):
            for batch in train_loader:

                def closure(batch=batch):
                    optimizer.zero_grad()
                    loss = module.training_step(batch)
                    loss.backward()
                    return loss

                optimizer.step(closure)
            val_loss, val_accuracy = self.validate(module, val_loader)
            print(f"epoch {epoch}: val_loss {val_loss:.4f} val_acc {val_accuracy:.3f}")
        return val_loss


def main(seed):
    torch.manual_seed(seed)
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(data.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, val = order[:1200], order[1200:]
    train_set = Digits(images[train], labels[train], augment=True)
    val_set = Digits(images[val], labels[val], augment=False)
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=200)
    module = LitDigits()
    loss = Trainer(max_epochs=8).fit(module, train_loader, val_loader)
    print("METRIC log_loss", round(loss, 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
