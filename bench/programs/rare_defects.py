"""Rare defects on a surface: focal loss by hand, several kinds of defects, warm restarts, a class-balanced sampler."""

import argparse

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

NAMES = ("fine", "scratch", "pit", "stain")
SHARES = (0.76, 0.1, 0.08, 0.06)


def surfaces(n, generator):
    """Textures of 12x12 pixels; a scratch is a line, a pit a dark dot with a bright rim, a stain a dim blob."""
    label = torch.multinomial(torch.tensor(SHARES), n, replacement=True, generator=generator)
    images = 0.6 * torch.randn(n, 12, 12, generator=generator)
    yy, xx = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    place = 3 + 6 * torch.rand(n, 2, generator=generator)
    angle = 3.14 * torch.rand(n, generator=generator)
    for image, kind, (y, x), a in zip(images, label.tolist(), place.tolist(), angle, strict=True):
        distance = ((yy - y) ** 2 + (xx - x) ** 2).sqrt()
        if kind == 1:
            image += 1.6 * (((yy - y) * a.cos() + (xx - x) * a.sin()).abs() < 0.7)
        elif kind == 2:
            image += 2.0 * ((distance - 2.2).abs() < 0.6) - 2.0 * (distance < 1.2)
        elif kind == 3:
            image += 1.3 * torch.exp(-((distance / 2.5) ** 2))
    return images[:, None], label


class FocalLoss(nn.Module):
    def __init__(self, gamma=1.5):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits, label):
        log_p = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        log_p = log_p.gather(1, label[:, None]).squeeze(1)
        return -((1 - log_p.exp()) ** self.gamma * log_p).mean()


def classifier():
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, len(NAMES)),
    )


def balanced_accuracy(model, data):
    model.eval()
    with torch.no_grad():
        guess = model(data[0]).argmax(1)
    hits = [(guess[data[1] == c] == c).float().mean().item() for c in range(len(NAMES))]
    print("  ".join(f"{name} {hit:.2f}" for name, hit in zip(NAMES, hits, strict=True)))
    return sum(hits) / len(hits)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    train, test = surfaces(1200, generator), surfaces(800, generator)
    weight = (1 / torch.bincount(train[1], minlength=len(NAMES)).clamp(min=1))[train[1]]
    sampler = WeightedRandomSampler(weight, len(weight))
    loader = DataLoader(TensorDataset(*train), batch_size=32, sampler=sampler)
    model, criterion = classifier(), FocalLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=1, T_mult=2)
    for epoch in range(args.epochs):
        model.train()
        for i, (image, label) in enumerate(loader):
            optimizer.zero_grad()
            loss = criterion(model(image), label)
            loss.backward()
            optimizer.step()
            scheduler.step(epoch + i / len(loader))
        print(f"epoch {epoch} focal {loss.item():.4f}")
    print("METRIC balanced_accuracy", balanced_accuracy(model, test))


if __name__ == "__main__":
    main()
