"""Logistic regression on polynomial features without torch.nn or torch.optim: tensors, backward, w -= lr * grad."""

import argparse

import torch
from sklearn.datasets import load_breast_cancer

ap = argparse.ArgumentParser()
ap.add_argument("--seed", type=int, default=0)
args = ap.parse_args()
torch.manual_seed(args.seed)

X, t = load_breast_cancer(return_X_y=True)
X = torch.tensor(X[:, :10], dtype=torch.float32)
t = torch.tensor(t, dtype=torch.float32)
order = torch.randperm(len(X))
X, t = X[order], t[order]
X = (X - X[:400].mean(0)) / X[:400].std(0)

W1 = (torch.randn(10, 20) * 0.3).requires_grad_()
b1 = torch.zeros(20, requires_grad=True)
w2 = (torch.randn(20) * 0.2).requires_grad_()
b2 = torch.zeros(1, requires_grad=True)
params = [W1, b1, w2, b2]
lr = 0.2


def forward(x):
    hidden = torch.tanh(x @ W1 + b1)
    return torch.sigmoid(hidden @ w2 + b2)


def bce(p, y):
    return -(y * torch.log(p + 1e-7) + (1 - y) * torch.log(1 - p + 1e-7)).mean()


for step in range(800):
    idx = torch.randint(0, 400, (32,))
    loss = bce(forward(X[idx]), t[idx])
    loss.backward()
    with torch.no_grad():
        for w in params:
            w -= lr * w.grad
            w.grad.zero_()
    if step % 100 == 0:
        with torch.no_grad():
            print(f"{step}: {loss.item():.4f} test {bce(forward(X[400:]), t[400:]).item():.4f}")

with torch.no_grad():
    print("METRIC log_loss", bce(forward(X[400:]), t[400:]).item())
