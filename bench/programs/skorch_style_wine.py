"""Wine cultivars with an estimator in the manner of scikit-learn: probabilities out, a negative log-likelihood of their logarithm."""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn


class ClassifierModule(nn.Module):
    def __init__(self, num_units=24, nonlin=torch.tanh):
        super().__init__()
        self.dense0 = nn.Linear(13, num_units)
        self.nonlin = nonlin
        self.dense1 = nn.Linear(num_units, num_units)
        self.output = nn.Linear(num_units, 3)

    def forward(self, X):
        X = self.nonlin(self.dense0(X))
        X = self.nonlin(self.dense1(X))
        return torch.softmax(self.output(X), dim=-1)


class NeuralNetClassifier:
    def __init__(self, module, lr, max_epochs, batch_size=16, criterion=nn.NLLLoss):
        self.module_, self.lr, self.max_epochs, self.batch_size = module(), lr, max_epochs, batch_size
        self.criterion_ = criterion()
        self.optimizer_ = torch.optim.SGD(self.module_.parameters(), lr=lr, momentum=0.9)

    def get_loss(self, y_pred, y_true):
        eps = torch.finfo(y_pred.dtype).eps
        return self.criterion_(torch.log(y_pred + eps), y_true)

    def train_step(self, Xi, yi):
        def step_fn():
            self.optimizer_.zero_grad()
            self.module_.train()
            loss = self.get_loss(self.module_(Xi), yi)
            loss.backward()
            return loss

        return self.optimizer_.step(step_fn)

    def fit(self, X, y, X_valid, y_valid):
        for epoch in range(self.max_epochs):
            order = np.random.permutation(len(X))
            losses = []
            for start in range(0, len(X), self.batch_size):
                rows = order[start : start + self.batch_size]
                losses.append(self.train_step(torch.from_numpy(X[rows]), torch.from_numpy(y[rows])).item())
            if epoch % 5 == 0:
                print(epoch, round(float(np.mean(losses)), 4), round(self.score(X_valid, y_valid), 4))
        return self

    def score(self, X, y):
        self.module_.eval()
        with torch.no_grad():
            return self.get_loss(self.module_(torch.from_numpy(X)), torch.from_numpy(y)).item()


def main(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    X, y = load_wine(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train).astype("float32"), scaler.transform(X_test).astype("float32")
    net = NeuralNetClassifier(ClassifierModule, lr=0.02, max_epochs=40)
    net.fit(X_train, y_train, X_test, y_test)
    print("METRIC log_loss", round(net.score(X_test, y_test), 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
