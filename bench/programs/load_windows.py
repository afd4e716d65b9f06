"""Tomorrow's electricity load from windows of the past four days; compared with the same hour of yesterday."""

import argparse
import copy

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

PAST, AHEAD = 96, 24


def hourly_load(days, seed):
    rng = np.random.default_rng(seed)
    hour = np.arange(24 * days)
    daily = 6 * np.sin(2 * np.pi * hour / 24 - 1.2) + 2.5 * np.sin(4 * np.pi * hour / 24)
    weekend = 1 - 0.35 * (hour // 24 % 7 >= 5)
    weather = np.zeros(len(hour))
    for i in range(1, len(hour)):
        weather[i] = 0.995 * weather[i - 1] + 0.25 * rng.normal()
    return 40 + weekend * (daily + 8) + 3 * weather + 0.4 * rng.normal(size=len(hour))


class Windows(Dataset):
    def __init__(self, series, stride=3):
        self.series, self.starts = series, range(0, len(series) - PAST - AHEAD, stride)

    def __len__(self):
        return len(self.starts)

    def __getitem__(self, i):
        start = self.starts[i]
        window = self.series[start : start + PAST + AHEAD]
        return window[:PAST], window[PAST:]


class Forecaster(nn.Module):
    """Yesterday plus a correction."""

    def __init__(self, hidden=64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(PAST, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.correction = nn.Linear(hidden, AHEAD)

    def forward(self, past):
        return past[:, -AHEAD:] + self.correction(self.net(past))


def mae(model, loader):
    model.eval()
    with torch.no_grad():
        return np.mean([(model(past) - future).abs().mean().item() for past, future in loader])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=5)
    parser.add_argument("--lr", type=float, default=2e-3)
    cfg = parser.parse_args()
    torch.manual_seed(cfg.seed)
    load = hourly_load(300, cfg.seed)
    mean, std = load[: 24 * 200].mean(), load[: 24 * 200].std()
    series = torch.tensor((load - mean) / std, dtype=torch.float32)
    train = DataLoader(Windows(series[: 24 * 200]), batch_size=32, shuffle=True)
    val = DataLoader(Windows(series[24 * 200 : 24 * 250], 12), batch_size=128)
    test = DataLoader(Windows(series[24 * 250 :], 12), batch_size=128)

    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.3)
    best, since, state = float("inf"), 0, copy.deepcopy(model.state_dict())
    for epoch in range(cfg.max_epochs):
        model.train()
        for past, future in train:
            loss = nn.functional.huber_loss(model(past), future, delta=0.5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        error = mae(model, val)
        plateau.step(error)
        print(f"epoch {epoch:2d} validation MAE {error * std:.3f}")
        if error < best:
            best, since, state = error, 0, copy.deepcopy(model.state_dict())
        else:
            since += 1
            if since > cfg.patience:
                break
    model.load_state_dict(state)
    print("METRIC mae", mae(model, test) * std)
