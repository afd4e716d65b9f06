"""Five folds, five networks, one after the other; out-of-fold predictions and an ensemble for the held-out patients."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold


def make_network(inputs, hidden=24):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Dropout(0.1), nn.Linear(hidden, 1))


def train_fold(x, y, epochs=30, lr=5e-3, batch=20):
    network = make_network(x.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, weight_decay=1e-3)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for i in range(0, len(x), batch):
            rows = order[i : i + batch]
            prediction = network(x[rows]).squeeze(1)
            loss = ((prediction - y[rows]) ** 2).mean()
            network.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
    return network


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(args.seed).permutation(len(y))
    development, held_out = order[:330], order[330:]
    x = (x - x[development].mean(0)) / x[development].std(0)
    mean, std = y[development].mean(), y[development].std()
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor((y - mean) / std, dtype=torch.float32)

    networks, scores = [], []
    for fold, (inside, outside) in enumerate(KFold(5, shuffle=True, random_state=args.seed).split(development)):
        inside, outside = development[inside], development[outside]
        network = train_fold(x[inside], y[inside])
        with torch.no_grad():
            error = (network(x[outside]).squeeze(1) - y[outside]).pow(2).mean().sqrt().item()
        print(f"fold {fold}: rmse {error * std:.1f}")
        networks.append(network)
        scores.append(error)
    print(f"cross-validated rmse {np.mean(scores) * std:.1f}")
    with torch.no_grad():
        ensemble = torch.stack([network(x[held_out]).squeeze(1) for network in networks]).mean(0)
    print("METRIC rmse", (ensemble - y[held_out]).pow(2).mean().sqrt().item() * std)


if __name__ == "__main__":
    main()
