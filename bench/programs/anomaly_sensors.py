"""Faulty machines from their sensors: a denoising autoencoder trained on normal days, with an EMA of its weights."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from sklearn.metrics import roc_auc_score
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

SENSORS = 24


def days(n, rng, mixing, broken=False):
    """Normal days lie near a curved surface with three coordinates; broken ones leave it in a few sensors."""
    hidden = rng.normal(size=(n, 3))
    curved = np.concatenate([hidden, np.sin(2 * hidden), hidden**2 - 1], axis=1)
    x = curved @ mixing + 0.15 * rng.normal(size=(n, SENSORS))
    if broken:
        which = rng.random((n, SENSORS)) < 0.12
        x = x + which * rng.normal(scale=1.6, size=x.shape)
    return x


class AutoEncoder(nn.Module):
    def __init__(self, bottleneck=6):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(SENSORS, 64), nn.ELU(), nn.Linear(64, bottleneck))
        self.decoder = nn.Sequential(nn.Linear(bottleneck, 64), nn.ELU(), nn.Linear(64, SENSORS))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    mixing = rng.normal(size=(9, SENSORS)) / 2
    normal, fresh, broken = days(1500, rng, mixing), days(300, rng, mixing), days(300, rng, mixing, broken=True)
    scale = normal.std(0)
    normal, fresh, broken = (torch.tensor(part / scale, dtype=torch.float32) for part in (normal, fresh, broken))
    loader = DataLoader(TensorDataset(normal), batch_size=50, shuffle=True)

    model = AutoEncoder()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    criterion = nn.MSELoss()
    optimizer = torch.optim.NAdam(model.parameters(), lr=4e-3)
    for epoch in range(24):
        for (x,) in loader:
            optimizer.zero_grad()
            output = model(x + 0.1 * torch.randn_like(x))
            loss = criterion(output, x)
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
        if epoch % 6 == 5:
            print(f"epoch {epoch + 1} reconstruction {loss.item():.4f}")

    with torch.no_grad():
        error = [(average(part) - part).pow(2).mean(1).numpy() for part in (fresh, broken)]
    truth = np.repeat([0, 1], [len(fresh), len(broken)])
    print("METRIC auc", roc_auc_score(truth, np.nan_to_num(np.concatenate(error))))


if __name__ == "__main__":
    main()
