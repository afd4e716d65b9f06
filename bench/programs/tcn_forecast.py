"""Dilated causal convolutions forecast the next day of an hourly load curve."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import DataLoader, Dataset


def load_curve(hours, seed):
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    daily = np.sin(2 * np.pi * t / 24) + 0.4 * np.sin(4 * np.pi * t / 24 + 0.7)
    weekly = 1 + 0.4 * np.cos(2 * np.pi * t / 168)
    noise = np.zeros(hours)
    for i in range(1, hours):
        noise[i] = 0.9 * noise[i - 1] + 0.08 * rng.normal()
    return (50 + 12 * (daily * weekly + noise)).astype(np.float32)


class Windows(Dataset):
    def __init__(self, series, mean, std, history=48, horizon=6, stride=2):
        self.series = torch.from_numpy((series - mean) / std)
        self.history, self.horizon, self.stride = history, horizon, stride

    def __len__(self):
        return (len(self.series) - self.history - self.horizon) // self.stride

    def __getitem__(self, i):
        i *= self.stride
        middle = i + self.history
        return self.series[None, i:middle], self.series[middle : middle + self.horizon]


class CausalBlock(nn.Module):
    def __init__(self, channels_in, channels_out, dilation):
        super().__init__()
        self.pad = 2 * dilation
        self.conv = weight_norm(nn.Conv1d(channels_in, channels_out, 3, dilation=dilation))
        self.skip = nn.Conv1d(channels_in, channels_out, 1)

    def forward(self, x):
        return F.gelu(self.conv(F.pad(x, (self.pad, 0)))) + self.skip(x)


class TCN(nn.Module):
    def __init__(self, horizon=6, width=16):
        super().__init__()
        self.blocks = nn.Sequential(*[CausalBlock(1 if d == 1 else width, width, d) for d in (1, 2, 4, 8)])
        self.readout = nn.Linear(width, horizon)

    def forward(self, x):
        return self.readout(self.blocks(x)[:, :, -1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max_lr", type=float, default=5e-3)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    series = load_curve(24 * 100, args.seed)
    past, future = series[: 24 * 80], series[24 * 80 :]
    mean, std = past.mean(), past.std()
    train_loader = DataLoader(Windows(past, mean, std), batch_size=32, shuffle=True)
    valid_loader = DataLoader(Windows(future, mean, std), batch_size=256)
    model = TCN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.max_lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.max_lr, epochs=args.epochs, steps_per_epoch=len(train_loader)
    )
    for epoch in range(args.epochs):
        for history, target in train_loader:
            loss = F.l1_loss(model(history), target)
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            scheduler.step()
        with torch.inference_mode():
            errors = [F.l1_loss(model(h), t).item() for h, t in valid_loader]
        print(f"epoch {epoch + 1}: train {loss.item():.4f} valid {np.mean(errors):.4f} norm {norm:.2f}")
    print("METRIC mae", np.mean(errors))


if __name__ == "__main__":
    main()
