"""Small training scripts in different styles, each with something to repair. Each ends with `final` and `score`."""

from __future__ import annotations

END = """
final = torch.cat([p.detach().flatten() for p in model.parameters()])
"""

PLAIN = """
import torch
from torch import nn
import torch.nn.functional as F

torch.manual_seed(0)
x = torch.randn(96, 6)
y = (x[:, 0] * x[:, 1] > 0).long()
model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for step in range(30):
    loss = F.cross_entropy(model(x), y)  # é
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
final = torch.cat([p.detach().flatten() for p in model.parameters()])
score = loss.item()
"""

CLASSES = '''
"""A network and a trainer as classes, numbers in a dataclass, a loader, a functional forward."""
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    width: int = 12
    lr: float = 0.05
    momentum: float = 0.9
    batch_size: int = 16
    epochs: int = 4
    dropout: float = 0.6


class Net(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.first = nn.Linear(6, cfg.width)
        self.second = nn.Linear(cfg.width, cfg.width)
        self.last = nn.Linear(cfg.width, 2)
        self.drop = nn.Dropout(cfg.dropout)

    def forward(self, x):
        x = torch.sigmoid(self.first(x))
        x = self.drop(self.second(x).sigmoid())
        return self.last(x)


class Trainer:
    def __init__(self, model, cfg):
        self.model = model
        self.cfg = cfg
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = SGD(
            self.model.parameters(),
            lr=cfg.lr,
            momentum=cfg.momentum,
            weight_decay=0.1,
        )

    def fit(self, loader, held_out):
        for epoch in range(self.cfg.epochs):
            self.model.train()
            for features, target in loader:
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(features), target)
                loss.backward()
                self.optimizer.step()
            self.model.eval()
            with torch.no_grad():
                features, target = held_out
                validation = F.cross_entropy(self.model(features), target)
        return validation.item()


torch.manual_seed(0)
x = torch.randn(96, 6)
y = (x[:, 0] > 0.8).long()
cfg = Config()
data = TensorDataset(x, y)
loader = DataLoader(data, batch_size=cfg.batch_size)
model = Net(cfg)
score = Trainer(model, cfg).fit(loader, (x[:32], y[:32]))
final = torch.cat([p.detach().flatten() for p in model.parameters()])
'''

FUNCTIONS = '''
"""Functions that hand model and optimizer about; options by argparse."""
import argparse

import torch
from torch import nn, optim


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=25)
    return parser.parse_args([])


def train(model, optimizer, x, y, steps):
    loss_function = nn.MSELoss()
    i = 0
    while i < steps:
        i += 1
        loss = loss_function(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return loss.item()


def main():
    args = options()
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    y = x.sum(1, keepdim=True) + 3
    model = nn.Sequential(
        nn.Linear(5, 8),
        nn.ReLU(),
        nn.Linear(8, 1),
        nn.Sigmoid(),  # the targets are larger
    )
    optimizer = optim.Adam(model.parameters(), lr=args.learning_rate)
    return model, train(model, optimizer, x, y, args.steps)


model, score = main()
final = torch.cat([p.detach().flatten() for p in model.parameters()])
'''

RECURRENT = '''
"""A recurrence that reads a sequence."""
import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self, hidden=10):
        super().__init__()
        self.rnn = nn.RNN(3, hidden, nonlinearity="tanh", batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.head(out[:, -1])


torch.manual_seed(0)
x = torch.randn(32, 30, 3)
y = x[:, 0, :1]
model = Reader()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(12):
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-4)
    optimizer.step()
final = torch.cat([p.detach().flatten() for p in model.parameters()])
score = loss.item()
'''

ADVERSARIES = '''
"""A generator and a discriminator in a class."""
import torch
from torch import nn


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 16), nn.LeakyReLU(0.2), nn.Linear(16, outputs))


class Game:
    def __init__(self):
        self.G, self.D = mlp(2, 2), mlp(2, 1)
        self.opt_g = torch.optim.Adam(self.G.parameters(), lr=1e-3)
        self.opt_d = torch.optim.Adam(self.D.parameters(), lr=1e-3)
        self.bce = nn.BCEWithLogitsLoss()

    def discriminate(self, real):
        fake = self.G(torch.randn(len(real), 2)).detach()
        self.opt_d.zero_grad()
        loss = self.bce(self.D(real), torch.ones(len(real), 1)) + self.bce(self.D(fake), torch.zeros(len(real), 1))
        loss.backward()
        self.opt_d.step()

    def generate(self, n):
        self.opt_g.zero_grad()
        loss = self.bce(self.D(self.G(torch.randn(n, 2))), torch.ones(n, 1))
        loss.backward()
        self.opt_g.step()
        return loss.item()


torch.manual_seed(0)
game = Game()
for step in range(24):
    game.discriminate(torch.randn(32, 2) + 2)
    score = game.generate(32)
final = torch.cat([p.detach().flatten() for p in [*game.G.parameters(), *game.D.parameters()]])
'''

HALF = '''
"""Half precision."""
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(64, 5)
y = x[:, :1]
model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(12):
    with torch.autocast("cpu", dtype=torch.float16):
        loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
final = torch.cat([p.detach().flatten() for p in model.parameters()])
score = loss.item()
'''

NORMALISED = '''
"""Batch normalisation whose statistics hardly move, and an evaluation in training mode."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = 3 * torch.randn(64, 5) + 1
y = (x[:, 0] > 1).float()[:, None]
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, momentum=1e-4), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
data = TensorDataset(x, y)
for epoch in range(6):
    for features, target in DataLoader(data, 16, shuffle=True):
        loss = nn.functional.binary_cross_entropy_with_logits(model(features), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        score = nn.functional.binary_cross_entropy_with_logits(model(x), y).item()
final = torch.cat([p.detach().flatten() for p in model.parameters()])
final = torch.cat([final, model[1].running_mean])
'''

SINGULAR = '''
"""A logarithm that meets zero, and a rate that decays at once."""
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(64, 5)
y = (x[:, 0] > 0).float()
model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
for step in range(24):
    p = torch.sigmoid(100 * model(x).squeeze(1))
    loss = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
final = torch.cat([p.detach().flatten() for p in model.parameters()])
score = loss.item()
'''

DEEP = '''
"""Many layers, made in a loop."""
import torch
from torch import nn

WIDTH, DEPTH = 8, 6
torch.manual_seed(0)
x = torch.randn(64, WIDTH)
y = (x[:, 0] > 0).long()
layers = [nn.Linear(WIDTH, WIDTH), nn.Sigmoid()]
for _ in range(DEPTH):
    layers += [nn.Linear(WIDTH, WIDTH), nn.Sigmoid()]
layers.append(nn.Linear(WIDTH, 2))
model = nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(20):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
final = torch.cat([p.detach().flatten() for p in model.parameters()])
score = loss.item()
'''

BY_HAND = '''
"""Weights moved by hand."""
import torch

torch.manual_seed(0)
x = torch.randn(64, 5)
y = x @ torch.randn(5)
w = torch.zeros(5, requires_grad=True)
b = torch.zeros(1, requires_grad=True)
lr = 0.1
for step in range(40):
    loss = ((x @ w + b - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for p in (w, b):
            p -= lr * p.grad
            p.grad.zero_()
final = torch.cat([w.detach(), b.detach()])
score = loss.item()
'''

TWO_RATES = '''
"""Two optimizers for two parts of a network."""
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(64, 5)
y = (x[:, 0] > 0).long()
body, head = nn.Sequential(nn.Linear(5, 8), nn.ReLU()), nn.Linear(8, 2)
slow = torch.optim.Adam(body.parameters(), lr=10.0)
fast = torch.optim.Adam(
    head.parameters(),
    lr=10.0,
)
for step in range(25):
    loss = nn.functional.cross_entropy(head(body(x)), y)
    slow.zero_grad()
    fast.zero_grad()
    loss.backward()
    slow.step()
    fast.step()
final = torch.cat([p.detach().flatten() for p in [*body.parameters(), *head.parameters()]])
score = loss.item()
'''

SLICED = '''
"""Batches cut by hand, a loss written by hand, the forward pass in a function."""
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(64, 5)
y = x.sum(1, keepdim=True)
encoder, head = nn.Linear(5, 8), nn.Linear(8, 1)
optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.05)


def predict(batch):
    return head(torch.tanh(encoder(batch)))


for epoch in range(6):
    for i in range(0, len(x), 16):
        prediction, target = predict(x[i : i + 16]), y[i : i + 16]
        loss = ((prediction - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
final = torch.cat([p.detach().flatten() for p in [*encoder.parameters(), *head.parameters()]])
score = loss.item()
'''

GROUPS = '''
"""A trainer, and groups whose rates are made of one number."""
import torch
from torch import nn


class Trainer:
    def __init__(self, epochs, rate=1e-6):
        self.epochs, self.rate = epochs, rate

    def fit(self, body, head, x, y):
        groups = [{"params": body.parameters()}, {"params": head.parameters(), "lr": 2 * self.rate}]
        optimizer = torch.optim.Adam(groups, lr=self.rate)
        for epoch in range(self.epochs):
            loss = nn.functional.cross_entropy(head(body(x)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item(), optimizer


torch.manual_seed(0)
x = torch.randn(64, 5)
y = (x[:, 0] > 0).long()
body, head = nn.Sequential(nn.Linear(5, 8), nn.ReLU()), nn.Linear(8, 2)
trainer = Trainer(epochs=20)
score, optimizer = trainer.fit(body, head, x, y)
rates = [group["lr"] for group in optimizer.param_groups]
final = torch.cat([p.detach().flatten() for p in [*body.parameters(), *head.parameters()]])
'''

ESTIMATOR = '''
"""An estimator whose optimizer is given the step as a function."""
import torch
from torch import nn


class Regressor:
    def __init__(self):
        self.module_ = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
        self.optimizer_ = torch.optim.SGD(self.module_.parameters(), lr=0.05, momentum=0.9)

    def train_step(self, x, y):
        def step_fn():
            loss = (self.module_(x) - y).pow(2).mean()
            loss.backward()
            return loss

        return self.optimizer_.step(step_fn)

    def score(self, x, y):
        with torch.no_grad():
            return (self.module_(x) - y).pow(2).mean().item()


torch.manual_seed(0)
x = torch.randn(64, 5)
y = x[:, :1] - x[:, 1:2]
net = Regressor()
for step in range(40):
    net.train_step(x, y)
score = net.score(x, y)
final = torch.cat([p.detach().flatten() for p in net.module_.parameters()])
'''
