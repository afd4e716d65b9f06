"""Convolutional autoencoder for little badge images (16x16, grey), PyTorch.

The encoder halves the image twice, a linear layer makes the code, the decoder mirrors it with transposed convolutions.
"""

import argparse

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def make_badges(n, generator):
    """A disc or ring at some place, a stripe across it, both with soft edges. Values between 0 and 1."""
    axis = torch.linspace(-1, 1, 16)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    rand = torch.rand(n, 6, generator=generator)[:, :, None, None]
    cy, cx = 0.7 * (rand[:, 0] - 0.5), 0.7 * (rand[:, 1] - 0.5)
    radius = 0.4 + 0.35 * rand[:, 2]
    distance = ((yy - cy) ** 2 + (xx - cx) ** 2).sqrt()
    disc = torch.sigmoid((radius - distance) * 12)
    hole = torch.sigmoid((0.5 * radius - distance) * 12) * (rand[:, 3] > 0.5)
    angle = torch.pi * rand[:, 4]
    stripe = torch.exp(-(((yy - cy) * angle.cos() + (xx - cx) * angle.sin()) ** 2) / 0.01)
    brightness = 0.6 + 0.4 * rand[:, 5]
    image = brightness * disc * (1 - hole) * (1 - 0.8 * stripe)
    return image[:, None]


class Encoder(nn.Module):
    def __init__(self, base_channels, latent_dim):
        super().__init__()
        c = base_channels
        self.net = nn.Sequential(
            nn.Conv2d(1, c, kernel_size=3, stride=2, padding=1),  # 16 -> 8
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.Conv2d(c, 2 * c, kernel_size=3, stride=2, padding=1),  # 8 -> 4
            nn.BatchNorm2d(2 * c),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * c * 16, latent_dim),
        )

    def forward(self, x):
        return self.net(x)


class Decoder(nn.Module):
    def __init__(self, base_channels, latent_dim):
        super().__init__()
        c = base_channels
        self.linear = nn.Sequential(nn.Linear(latent_dim, 2 * c * 16), nn.ReLU())
        self.net = nn.Sequential(
            nn.ConvTranspose2d(2 * c, c, kernel_size=4, stride=2, padding=1),  # 4 -> 8
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.ConvTranspose2d(c, 1, kernel_size=4, stride=2, padding=1),  # 8 -> 16
        )

    def forward(self, z):
        h = self.linear(z)
        h = h.reshape(len(h), -1, 4, 4)
        return torch.sigmoid(self.net(h))


class Autoencoder(nn.Module):
    def __init__(self, base_channels=12, latent_dim=12):
        super().__init__()
        self.encoder = Encoder(base_channels, latent_dim)
        self.decoder = Decoder(base_channels, latent_dim)

    def forward(self, x):
        z = self.encoder(x)
        return self.decoder(z)


class Trainer:
    def __init__(self, model, lr=1e-2, weight_decay=0.0):
        self.model = model
        self.criterion = nn.MSELoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=6, gamma=0.3)

    def train_epoch(self, loader):
        self.model.train()
        total = 0.0
        for (x,) in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), x)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(x)
        self.scheduler.step()
        return total / len(loader.dataset)

    @torch.no_grad()
    def test(self, loader):
        self.model.eval()
        total = 0.0
        for (x,) in loader:
            total += self.criterion(self.model(x), x).item() * len(x)
        return total / len(loader.dataset)

    def fit(self, train_loader, val_loader, epochs):
        for epoch in range(epochs):
            train_loss = self.train_epoch(train_loader)
            val_loss = self.test(val_loader)
            print(f"Epoch [{epoch + 1}/{epochs}], Train Loss: {train_loss:.5f}, Val Loss: {val_loss:.5f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    images = make_badges(1600, torch.Generator().manual_seed(args.seed))
    train_set, val_set = random_split(TensorDataset(images), [1200, 400])
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=100)

    trainer = Trainer(Autoencoder())
    trainer.fit(train_loader, val_loader, args.epochs)
    print(f"variance of the pixels: {images.var(dim=0).mean().item():.5f}")
    print("METRIC val_mse", round(trainer.test(val_loader), 6))
