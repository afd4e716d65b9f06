"""Segmentation: mark the pixels of bright discs in noise with a tiny encoder-decoder."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F


def make_images(n, size=20, seed=0):
    g = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = torch.rand(n, 2, 2, generator=g) * (size - 6) + 3
    radius = 1.5 + 2 * torch.rand(n, 2, generator=g)
    distance = ((yy - centre[..., 0, None, None]) ** 2 + (xx - centre[..., 1, None, None]) ** 2).sqrt()
    mask = (distance < radius[..., None, None]).any(dim=1).float()
    image = 0.8 * mask + 0.6 * torch.randn(n, size, size, generator=g)
    return image[:, None], mask[:, None]


def conv_block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class TinyUNet(nn.Module):
    def __init__(self, base=8):
        super().__init__()
        self.down1 = conv_block(1, base)
        self.down2 = conv_block(base, 2 * base)
        self.up = nn.ConvTranspose2d(2 * base, base, 2, stride=2)
        self.merge = conv_block(2 * base, base)
        self.final = nn.Conv2d(base, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = torch.cat([a, self.up(b)], dim=1)
        return self.final(self.merge(c))


class DiceBCELoss(nn.Module):
    def forward(self, logits, target):
        bce = F.binary_cross_entropy_with_logits(logits, target)
        p = torch.sigmoid(logits)
        dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
        return bce + dice


def iou(model, images, masks):
    model.eval()
    with torch.no_grad():
        predicted = model(images) > 0
    truth = masks > 0.5
    return ((predicted & truth).sum() / (predicted | truth).sum().clamp(min=1)).item()


def train(seed, epochs=8, batch_size=16, lr=5e-3):
    torch.manual_seed(seed)
    images, masks = make_images(480, seed=seed)
    val_images, val_masks = make_images(120, seed=seed + 1000)
    model = TinyUNet()
    criterion = DiceBCELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for epoch in range(1, epochs + 1):
        model.train()
        for idx in torch.randperm(len(images)).split(batch_size):
            loss = criterion(model(images[idx]), masks[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss={loss.item():.4f} val_iou={iou(model, val_images, val_masks):.4f}")
    return iou(model, val_images, val_masks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    print("METRIC iou", train(parser.parse_args().seed))
