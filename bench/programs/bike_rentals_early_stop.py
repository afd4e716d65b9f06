"""Predict the number of rented bikes per hour from weather and time, MLP + early stopping."""

import argparse
import copy

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

COLUMNS = ["hour", "weekday", "temperature_f", "humidity_pct", "pressure_pa", "wind_kmh", "visibility_m", "rain_mm"]


def load_rentals(n, seed):
    """Table of hours; the target is the number of bikes."""
    rng = np.random.default_rng(seed)
    hour = rng.integers(0, 24, n)
    weekday = rng.integers(0, 7, n)
    temperature = rng.normal(62, 16, n)
    humidity = rng.uniform(25, 100, n)
    pressure = rng.normal(101_300, 900, n)
    wind = rng.gamma(2.0, 7.0, n)
    visibility = rng.uniform(500, 16_000, n)
    rain = rng.exponential(2.0, n) * (rng.random(n) < 0.25)
    workday = weekday < 5
    rush = np.exp(-((hour - 8) ** 2) / 8) + 1.2 * np.exp(-((hour - 17.5) ** 2) / 12)
    leisure = np.exp(-((hour - 14) ** 2) / 18)
    base = 60 + 420 * np.where(workday, rush, 0.9 * leisure)
    comfort = np.exp(-((temperature - 72) ** 2) / 900) * (1 - 0.004 * (humidity - 25))
    weather = comfort * np.exp(-0.015 * wind - 0.25 * rain) * (0.7 + 0.3 * visibility / 16_000)
    bikes = base * (0.15 + weather) + 12 * rng.normal(size=n)
    table = np.stack([hour, weekday, temperature, humidity, pressure, wind, visibility, rain], axis=1)
    return table.astype(np.float32), bikes.clip(0).astype(np.float32)


class Scaler:
    """(x - mean) / std for every column, with the statistics of the training rows."""

    def fit(self, x):
        self.mean, self.std = x.mean(axis=0), x.std(axis=0)
        return self

    def transform(self, x):
        return (x - self.mean) / self.std

    def inverse(self, x):
        return x * self.std + self.mean


class EarlyStopping:
    def __init__(self, patience=8, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.bad_epochs, self.state = float("inf"), 0, None

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.bad_epochs = loss, 0
            self.state = copy.deepcopy(model.state_dict())
        else:
            self.bad_epochs += 1
        return self.bad_epochs >= self.patience


class Net(nn.Module):
    def __init__(self, n_inputs, hidden=64, n_layers=2, act=nn.ReLU):
        super().__init__()
        layers = []
        size = n_inputs
        for _ in range(n_layers):
            layers += [nn.Linear(size, hidden), act()]
            size = hidden
        self.body = nn.Sequential(*layers)
        self.out = nn.Linear(size, 1)

    def forward(self, x):
        return self.out(self.body(x))


def fit(model, train_loader, val_loader, epochs, lr, patience):
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    stopper = EarlyStopping(patience)
    for epoch in range(epochs):
        model.train()
        train_loss = 0.0
        for xb, yb in train_loader:
            pred = model(xb)
            loss = loss_fn(pred, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(xb)
        train_loss /= len(train_loader.dataset)

        model.eval()
        val_loss = 0.0
        with torch.no_grad():
            for xb, yb in val_loader:
                val_loss += loss_fn(model(xb), yb).item() * len(xb)
        val_loss /= len(val_loader.dataset)
        scheduler.step(val_loss)
        print(f"epoch {epoch + 1:3d}  train_loss={train_loss:.4f}  val_loss={val_loss:.4f}")
        if stopper.step(val_loss, model):
            print(f"no improvement for {patience} epochs, stopping")
            break
    if stopper.state is not None:
        model.load_state_dict(stopper.state)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--patience", type=int, default=8)
    args = parser.parse_args()
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    x, y = load_rentals(3500, args.seed)
    x_train, y_train = x[:2000], y[:2000]
    x_val, y_val = x[2000:2500], y[2000:2500]
    x_test, y_test = x[2500:], y[2500:]

    scaler, target_scaler = Scaler().fit(x_train), Scaler().fit(y_train)
    x_train = scaler.transform(x_train)
    x_val = scaler.transform(x_val)
    x_test = scaler.transform(x_test)
    y_train = target_scaler.transform(y_train)[:, None]
    y_val = target_scaler.transform(y_val)[:, None]

    train_set = TensorDataset(torch.from_numpy(x_train), torch.from_numpy(y_train))
    val_set = TensorDataset(torch.from_numpy(x_val), torch.from_numpy(y_val))
    train_loader = DataLoader(train_set, batch_size=args.batch, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=500)

    model = Net(len(COLUMNS))
    fit(model, train_loader, val_loader, args.epochs, args.lr, args.patience)

    model.eval()
    with torch.no_grad():
        bikes = target_scaler.inverse(model(torch.from_numpy(x_test)).squeeze(1).numpy())
    rmse = np.sqrt(np.mean((bikes - y_test) ** 2))
    print(f"test RMSE {rmse:.1f} bikes, standard deviation {y_test.std():.1f}")
    print("METRIC test_r2", 1 - np.mean((bikes - y_test) ** 2) / y_test.var())


if __name__ == "__main__":
    main()
