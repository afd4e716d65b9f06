"""Train a small CNN on road signs.

Usage: python road_signs_cnn.py [--epochs 12] [--lr 0.05] [--seed 0]
"""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

SHAPES = ["circle", "triangle", "square", "diamond"]
SYMBOLS = ["bar", "pole"]
CLASSES = [f"{shape}-{symbol}" for shape in SHAPES for symbol in SYMBOLS]
MEAN = torch.tensor([0.42, 0.42, 0.42]).view(3, 1, 1)
STD = torch.tensor([0.26, 0.26, 0.26]).view(3, 1, 1)


def draw_sign(label, rng, size=16):
    """One RGB image, uint8, as it would come out of a jpg."""
    yy, xx = np.mgrid[0:size, 0:size]
    cy, cx = size / 2 - 0.5 + rng.uniform(-1.5, 1.5, 2)
    r = rng.uniform(4.5, 6.5)
    dy, dx = yy - cy, xx - cx
    shape = SHAPES[label // 2]
    if shape == "circle":
        inside = dy**2 + dx**2 < r**2
    elif shape == "triangle":
        inside = (dy < r * 0.8) & (dy > 2 * np.abs(dx) - r)
    elif shape == "square":
        inside = np.maximum(np.abs(dy), np.abs(dx)) < r * 0.85
    else:
        inside = np.abs(dy) + np.abs(dx) < r * 1.15
    mark = (np.abs(dy) < 1) & (np.abs(dx) < 3) if label % 2 == 0 else (np.abs(dx) < 1) & (np.abs(dy) < 3)
    image = np.ones((3, size, size)) * rng.uniform(0.1, 0.6, (3, 1, 1))
    image[:, inside] = rng.uniform(0.4, 1.0, (3, 1))
    image[:, mark & inside] = rng.uniform(0.0, 0.3, (3, 1))
    image = image * rng.uniform(0.6, 1.1) + rng.normal(0, 0.08, image.shape)
    return (image.clip(0, 1) * 255).astype(np.uint8)


class SignFolder(Dataset):
    """Like ImageFolder: the images of class 0 come first, then those of class 1 and so on."""

    def __init__(self, per_class, seed, augment=False):
        rng = np.random.default_rng(seed)
        self.labels = np.repeat(np.arange(len(CLASSES)), per_class)
        self.images = np.stack([draw_sign(label, rng) for label in self.labels])
        self.augment = augment

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        x = torch.from_numpy(self.images[i]).float() / 255
        x = (x - MEAN) / STD
        if self.augment:
            if torch.rand(()) < 0.5:
                x = x.flip(-1)
            top, left = torch.randint(0, 3, (2,)).tolist()
            x = F.pad(x, (1, 1, 1, 1))[:, top : top + 16, left : left + 16]
        return x, int(self.labels[i])


class SignNet(nn.Module):
    def __init__(self, num_classes=8, dropout=0.2):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(32 * 4 * 4, num_classes))

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x)


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    total_loss, correct, n = 0.0, 0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(labels)
        correct += (outputs.argmax(1) == labels).sum().item()
        n += len(labels)
    return total_loss / n, correct / n


@torch.no_grad()
def evaluate(model, loader, criterion):
    model.eval()
    total_loss, correct, n = 0.0, 0, 0
    for images, labels in loader:
        outputs = model(images)
        total_loss += criterion(outputs, labels).item() * len(labels)
        correct += (outputs.argmax(1) == labels).sum().item()
        n += len(labels)
    return total_loss / n, correct / n


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    train_set = SignFolder(per_class=110, seed=args.seed, augment=True)
    val_set = SignFolder(per_class=50, seed=args.seed + 10_000)
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=50)

    model = SignNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)

    for epoch in range(1, args.epochs + 1):
        train_loss, train_acc = train_one_epoch(model, train_loader, criterion, optimizer)
        val_loss, val_acc = evaluate(model, val_loader, criterion)
        scheduler.step()
        print(
            f"Epoch {epoch:2d}/{args.epochs}  "
            f"train loss {train_loss:.4f} acc {train_acc:.4f}  val loss {val_loss:.4f} acc {val_acc:.4f}"
        )
    print("METRIC val_accuracy", round(val_acc, 5))


if __name__ == "__main__":
    main()
