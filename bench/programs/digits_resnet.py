"""A small residual network for 8x8 digits."""

import argparse
import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional as F


def set_seed(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class ResidualBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(12)
        self.layer1 = ResidualBlock(12, 12)
        self.layer2 = ResidualBlock(12, 24, stride=2)
        self.layer3 = ResidualBlock(24, 32, stride=2)
        self.fc = nn.Linear(32, num_classes)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(x)


class Trainer:
    def __init__(self, model, train_data, test_data, batch_size=64, lr=0.05, epochs=10):
        self.model = model
        self.x, self.y = train_data
        self.test_data = test_data
        self.batch_size = batch_size
        self.epochs = epochs
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
        self.optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
        self.scheduler = optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=lr, total_steps=epochs * (len(self.x) // batch_size)
        )

    def train(self):
        for epoch in range(self.epochs):
            self.model.train()
            loss = self.train_epoch()
            accuracy = self.evaluate()
            print(f"Epoch {epoch + 1}/{self.epochs} - loss: {loss:.4f} - val_accuracy: {accuracy:.4f}")
        return accuracy

    def train_epoch(self):
        total = 0.0
        batches = torch.randperm(len(self.x))[: len(self.x) // self.batch_size * self.batch_size]
        for idx in batches.view(-1, self.batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.criterion(self.model(self.x[idx]), self.y[idx])
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            total += loss.item()
        return total / (len(self.x) // self.batch_size)

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        x, y = self.test_data
        return (self.model(x).argmax(-1) == y).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", default=0, type=int)
    args = parser.parse_args()
    set_seed(args.seed)

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    images = (images - images.mean()) / images.std()
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    train, test = order[:1300], order[1300:]
    trainer = Trainer(ResNet(), (images[train], labels[train]), (images[test], labels[test]))
    print("METRIC accuracy", trainer.train())


if __name__ == "__main__":
    main()
