"""Object localisation: is there an ellipse, and in which box? Presence and box losses, weighted."""

import argparse

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

SIDE = 20


class Scenes(Dataset):
    """Noisy scenes; two in three contain an ellipse. A box is centre and size as shares of the side."""

    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.present = (torch.rand(n, generator=g) < 0.67).float()
        size = 0.25 + 0.3 * torch.rand(n, 2, generator=g)
        centre = size / 2 + (1 - size) * torch.rand(n, 2, generator=g)
        self.box = torch.cat([centre, size], dim=1)
        grid = (torch.arange(SIDE) + 0.5) / SIDE
        dy = (grid[None, :, None] - centre[:, :1, None]) / (size[:, :1, None] / 2)
        dx = (grid[None, None, :] - centre[:, 1:, None]) / (size[:, 1:, None] / 2)
        self.image = (dx**2 + dy**2 < 1).float() * self.present[:, None, None]
        self.image = (self.image + 0.35 * torch.randn(n, SIDE, SIDE, generator=g))[:, None]

    def __len__(self):
        return len(self.present)

    def __getitem__(self, index):
        return self.image[index], self.present[index], self.box[index]


class Locator(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 10, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(10, 20, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
            nn.Linear(20 * 25, 64),
            nn.LeakyReLU(0.1),
        )
        self.presence = nn.Linear(64, 1)
        self.box = nn.Linear(64, 4)

    def forward(self, image):
        z = self.features(image)
        return self.presence(z).squeeze(1), torch.sigmoid(self.box(z))


def loss_function(logit, box, present, target, box_weight=5.0):
    presence = nn.functional.binary_cross_entropy_with_logits(logit, present)
    error = nn.functional.smooth_l1_loss(box, target, reduction="none", beta=0.1).sum(1)
    return presence + box_weight * (error * present).sum() / present.sum().clamp(min=1)


def iou(a, b):
    low = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    overlap = (high - low).clamp(min=0).prod(1)
    return overlap / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - overlap)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=18)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    loader = DataLoader(Scenes(900, args.seed), batch_size=30, shuffle=True, drop_last=True)
    test = Scenes(300, 1000 + args.seed)
    model = Locator()
    backbone, heads = model.features.parameters(), [*model.presence.parameters(), *model.box.parameters()]
    optimizer = torch.optim.SGD(
        [{"params": backbone, "lr": 0.02}, {"params": heads, "lr": 0.04}], momentum=0.9, weight_decay=1e-4
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [12, 16], gamma=0.2)
    for epoch in range(args.epochs):
        for image, present, target in loader:
            logit, box = model(image)
            loss = loss_function(logit, box, present, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        scheduler.step()
        if epoch % 6 == 5:
            print(f"epoch {epoch + 1}: {loss.item():.4f}")
    model.eval()
    with torch.no_grad():
        _, box = model(test.image)
    there = test.present > 0
    print("METRIC iou", iou(box[there], test.box[there]).mean().item())


if __name__ == "__main__":
    main()
