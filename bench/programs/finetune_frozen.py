"""Transfer: a backbone trained on digits 0-5 is frozen, a new head learns digits 6-9."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.bn = nn.BatchNorm2d(24)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return F.relu(self.bn(self.conv2(x))).flatten(1)


class Classifier(nn.Module):
    def __init__(self, backbone, classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(24 * 4 * 4, classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def train(model, x, y, optimizer, epochs, freeze_bn=False):
    for epoch in range(epochs):
        model.train()
        if freeze_bn:
            model.backbone.eval()
        for idx in torch.randperm(len(x)).split(20):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: {loss.item():.4f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--head_lr", type=float, default=1e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(digits.target)
    order = torch.randperm(len(y))
    x, y = x[order], y[order]
    old, new = y < 6, y >= 6

    source = Classifier(Backbone(), 6)
    train(source, x[old], y[old], torch.optim.Adam(source.parameters(), lr=2e-3), epochs=3)

    x_new, y_new = x[new], y[new] - 6
    model = Classifier(source.backbone, 4)
    for parameter in model.backbone.parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.Adam(model.head.parameters(), lr=args.head_lr)
    train(model, x_new[:400], y_new[:400], optimizer, epochs=10, freeze_bn=True)
    model.eval()
    with torch.no_grad():
        print("METRIC log_loss", F.cross_entropy(model(x_new[400:]), y_new[400:]).item())


if __name__ == "__main__":
    main()
