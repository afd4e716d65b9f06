"""Cells under a microscope: a small U-Net, Dice plus binary cross-entropy, gradient checkpointing in the bottleneck."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

SIZE = 24


def micrographs(n, generator):
    """Dim round cells on an uneven background; the mask marks their pixels."""
    axis = torch.arange(SIZE).float()
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    images, masks = [], []
    for _ in range(n):
        k = int(torch.randint(1, 4, (), generator=generator))
        centre = 3 + (SIZE - 6) * torch.rand(k, 2, generator=generator)
        radius = 2 + 2.5 * torch.rand(k, generator=generator)
        distance = ((yy - centre[:, :1, None]) ** 2 + (xx - centre[:, 1:, None]) ** 2).sqrt()
        mask = (distance < radius[:, None, None]).any(0).float()
        tilt = torch.randn(2, generator=generator)
        background = (tilt[0] * (yy - SIZE / 2) + tilt[1] * (xx - SIZE / 2)) / SIZE
        images.append(mask + background + 0.5 * torch.randn(SIZE, SIZE, generator=generator))
        masks.append(mask)
    return torch.stack(images)[:, None], torch.stack(masks)[:, None]


def double(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GroupNorm(2, outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


class UNet(nn.Module):
    def __init__(self, base=8):
        super().__init__()
        self.down1, self.down2 = double(1, base), double(base, 2 * base)
        self.up = nn.ConvTranspose2d(2 * base, base, 2, stride=2)
        self.fuse = double(2 * base, base)
        self.head = nn.Conv2d(base, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = checkpoint(self.down2, F.max_pool2d(a, 2), use_reentrant=False)
        return self.head(self.fuse(torch.cat([a, self.up(b)], dim=1)))


def dice_loss(logits, mask):
    p = torch.sigmoid(logits)
    overlap = (p * mask).sum((1, 2, 3))
    return 1 - ((2 * overlap + 1) / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)).mean()


def train(model, images, masks, steps, lr, weights=(0.5, 0.5), batch=12):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(steps):
        pick = torch.randint(0, len(images), (batch,))
        logits = model(images[pick])
        dice, bce = dice_loss(logits, masks[pick]), F.binary_cross_entropy_with_logits(logits, masks[pick])
        loss = weights[0] * dice + weights[1] * bce
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 30 == 0:
            print(f"step {step:3d} dice {dice.item():.3f} bce {bce.item():.3f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    images, masks = micrographs(160, generator)
    test_images, test_masks = micrographs(60, generator)
    model = UNet()
    train(model, images, masks, steps=150, lr=4e-3)
    with torch.no_grad():
        guess = (model(test_images) > 0).float()
    union = ((guess + test_masks) > 0).float().sum((1, 2, 3))
    print("METRIC iou", ((guess * test_masks).sum((1, 2, 3)) / union).mean().item())


if __name__ == "__main__":
    main()
