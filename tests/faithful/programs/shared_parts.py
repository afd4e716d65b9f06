"""Tied weights, a module called twice, an in-place ReLU after batch normalisation, layers in a plain list."""

import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)


class Tangled(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True))
        self.plain = [nn.Linear(8, 8) for _ in range(2)]
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight
        self.alias = self.block[0]

    def forward(self, ids):
        x = self.embed(ids)
        x = self.block(x) + self.block(x.clone())
        for layer in self.plain:
            x = nn.functional.relu_(layer(x))
        return self.head(self.alias(x))


model = Tangled()
parameters = [*model.parameters(), *(p for layer in model.plain for p in layer.parameters())]
optimizer = torch.optim.Adagrad(parameters, lr=0.05)
for _ in range(25):
    ids = torch.randint(0, 12, (10,))
    loss = nn.functional.nll_loss(nn.functional.log_softmax(model.forward(ids), dim=-1), (ids + 1) % 12)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
show("shared_parts", model, optimizer, [p.data for p in parameters])
