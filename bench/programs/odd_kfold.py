"""Five folds of breast cancer data, a fresh small network for each: several trainings, one after another, in one script."""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import KFold
from torch import nn


def fit(X, y, epochs=25, lr=0.05):
    model = nn.Sequential(nn.Linear(X.shape[1], 16), nn.ELU(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3)
    criterion = nn.BCEWithLogitsLoss()
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            loss = criterion(model(X[rows]).squeeze(1), y[rows])
            loss.backward()
            optimizer.step()
    return model


def main(seed):
    torch.manual_seed(seed)
    X, y = load_breast_cancer(return_X_y=True)
    scores = []
    for train, test in KFold(5, shuffle=True, random_state=seed).split(X):
        mean, std = X[train].mean(0), X[train].std(0)
        Xt = torch.tensor((X - mean) / std, dtype=torch.float32)
        yt = torch.tensor(y, dtype=torch.float32)
        model = fit(Xt[train], yt[train])
        with torch.no_grad():
            scores.append(nn.functional.binary_cross_entropy_with_logits(model(Xt[test]).squeeze(1), yt[test]).item())
        print(f"fold {len(scores)}: {scores[-1]:.4f}")
    print("METRIC log_loss", round(float(np.mean(scores)), 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
