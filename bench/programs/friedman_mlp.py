"""Regression on Friedman's first function, in the fit/predict style."""

import argparse
import itertools

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import make_friedman1


class MLPRegressor:
    def __init__(self, n_inputs, hidden=(64, 64), lr=2e-3, batch_size=50, epochs=60, weight_decay=0.0, verbose=True):
        layers = []
        sizes = [n_inputs, *hidden]
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        layers.append(nn.Linear(sizes[-1], 1))
        self.net = nn.Sequential(*layers)
        self.lr = lr
        self.batch_size = batch_size
        self.epochs = epochs
        self.weight_decay = weight_decay
        self.verbose = verbose

    def fit(self, X, y, X_val, y_val):
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        criterion = nn.MSELoss()
        n = len(X)
        for epoch in range(self.epochs):
            permutation = torch.randperm(n)
            epoch_loss = 0.0
            for start in range(0, n, self.batch_size):
                idx = permutation[start : start + self.batch_size]
                optimizer.zero_grad()
                prediction = self.net(X[idx]).squeeze(-1)
                loss = criterion(prediction, y[idx])
                loss.backward()
                optimizer.step()
                epoch_loss += loss.item() * len(idx)
            if self.verbose and epoch % 10 == 9:
                with torch.no_grad():
                    val = criterion(self.net(X_val).squeeze(-1), y_val).item()
                print(f"epoch {epoch + 1}: train mse {epoch_loss / n:.3f}, val mse {val:.3f}")
        return self

    @torch.no_grad()
    def predict(self, X):
        return self.net(X).squeeze(-1)


def load(seed, n=1400, n_train=1000):
    X, y = make_friedman1(n_samples=n, n_features=10, noise=1.0, random_state=seed)
    X = X - 0.5
    X = torch.from_numpy(X.astype(np.float32))
    y = torch.from_numpy(y.astype(np.float32))
    return X[:n_train], y[:n_train], X[1000:], y[1000:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    X, y, X_test, y_test = load(args.seed)
    model = MLPRegressor(X.shape[1]).fit(X, y, X_test, y_test)
    mse = torch.mean((model.predict(X_test) - y_test) ** 2).item()
    print(f"METRIC mse {mse:.5f}")
