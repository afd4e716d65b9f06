"""Rare-event detection: 3 % of the transactions are frauds; the loss weighs them up."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import make_classification
from torch.utils.data import DataLoader, TensorDataset


def prepare(seed):
    X, y = make_classification(
        n_samples=6000, n_features=16, n_informative=6, n_clusters_per_class=2, class_sep=0.9,
        weights=[0.97], flip_y=0.0, random_state=seed,
    )  # fmt: skip
    rng = np.random.RandomState(seed)
    idx = rng.permutation(len(X))
    X, y = X[idx].astype("float32"), y[idx].astype("int64")
    mean, std = X[:4000].mean(0), X[:4000].std(0)
    X = (X - mean) / std
    return (torch.from_numpy(X[:4000]), torch.from_numpy(y[:4000])), (
        torch.from_numpy(X[4000:]),
        torch.from_numpy(y[4000:]),
    )


def balanced_accuracy(logits, target):
    predicted = logits.argmax(dim=1)
    recalls = [(predicted[target == c] == c).float().mean() for c in (0, 1)]
    return (sum(recalls) / 2).item()


class FraudDetector:
    def __init__(self, class_weights, lr=3e-3):
        self.network = nn.Sequential(
            nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2)
        )
        self.criterion = nn.CrossEntropyLoss(weight=class_weights)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, weight_decay=1e-3)

    def fit(self, train, validation, epochs=10):
        loader = DataLoader(TensorDataset(*train), batch_size=100, shuffle=True)
        for epoch in range(epochs):
            self.network.train()
            for inputs, labels in loader:
                self.optimizer.zero_grad()
                loss = self.criterion(self.network(inputs), labels)
                loss.backward()
                self.optimizer.step()
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}, balanced accuracy {self.score(*validation):.4f}")
        return self

    @torch.no_grad()
    def score(self, inputs, labels):
        self.network.eval()
        return balanced_accuracy(self.network(inputs), labels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.manual_seed(seed)
    train, test = prepare(seed)
    share = train[1].float().mean()
    detector = FraudDetector(class_weights=torch.stack([0.5 / (1 - share), 0.5 / share]))
    detector.fit(train, test)
    print("METRIC balanced_accuracy", detector.score(*test))


if __name__ == "__main__":
    main()
