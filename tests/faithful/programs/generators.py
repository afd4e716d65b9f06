"""Draws from Python's, NumPy's and torch's generators, in the middle of training, must be the same ones."""

import random

import numpy as np
import torch
from fingerprint import show
from torch import nn

torch.manual_seed(1), np.random.seed(2), random.seed(3)
own, numpy_own = torch.Generator().manual_seed(4), np.random.default_rng(5)
model = nn.Linear(4, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
draws = []
for _ in range(30):
    order = list(range(4))
    random.shuffle(order)
    x = torch.randn(4, 4, generator=own)[order] + np.random.randn() + numpy_own.normal()
    loss = nn.functional.mse_loss(model(x.float()), torch.rand(4, 4))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
show("generators", model, optimizer, own.get_state(), numpy_own.bit_generator.state, draws)
