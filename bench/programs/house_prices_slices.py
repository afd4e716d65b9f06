"""House prices from made-up districts: standardised columns, a target in thousands that is scaled, batches by slicing."""

import argparse

import numpy as np
import torch
import torch.nn as nn


def make_houses(n, seed):
    rng = np.random.default_rng(seed)
    area = rng.gamma(9.0, 12.0, n)
    rooms = np.clip(np.round(area / 28 + rng.normal(0, 0.8, n)), 1, 9)
    age = rng.uniform(0, 100, n)
    distance = rng.exponential(8.0, n)
    income = rng.lognormal(10.4, 0.4, n)
    noise = rng.normal(0, 25.0, n)
    price = 2.1 * area + 14 * rooms - 0.9 * age + 160 * np.exp(-distance / 6) + income / 400 + noise
    price += 60 * ((age > 70) & (distance < 4))
    return np.stack([area, rooms, age, distance, income], 1).astype("float32"), price.astype("float32")


class PriceModel(nn.Module):
    def __init__(self, n_features, hidden):
        super().__init__()
        self.l1 = nn.Linear(n_features, hidden)
        self.l2 = nn.Linear(hidden, hidden)
        self.l3 = nn.Linear(hidden, 1)

    def forward(self, x):
        x = torch.relu(self.l1(x))
        x = torch.relu(self.l2(x))
        return self.l3(x)


def run(seed, epochs=60, batch_size=64, lr=3e-3, hidden=32):
    torch.manual_seed(seed)
    X, y = make_houses(2000, 0)
    n_train = 1500
    x_mean, x_std = X[:n_train].mean(0), X[:n_train].std(0)
    y_mean, y_std = y[:n_train].mean(), y[:n_train].std()
    X = (X - x_mean) / x_std
    y = (y - y_mean) / y_std
    X, y = torch.from_numpy(X), torch.from_numpy(y).unsqueeze(1)
    X_train, y_train, X_test, y_test = X[:n_train], y[:n_train], X[n_train:], y[n_train:]

    model = PriceModel(X.shape[1], hidden)
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    for epoch in range(epochs):
        permutation = torch.randperm(n_train)
        epoch_loss = 0.0
        for i in range(0, n_train, batch_size):
            idx = permutation[i : i + batch_size]
            y_pred = model(X_train[idx])
            loss = loss_fn(y_pred, y_train[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item() * len(idx)
        if epoch % 10 == 9:
            with torch.no_grad():
                test = loss_fn(model(X_test), y_test).item()
            print(f"epoch {epoch + 1}/{epochs} train {epoch_loss / n_train:.4f} test {test:.4f}")
    with torch.no_grad():
        mse = float(((model(X_test) - y_test) ** 2).mean() * float(y_std) ** 2)
    print("METRIC mse", round(mse, 3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    run(parser.parse_args().seed)
