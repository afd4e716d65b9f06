"""torch.compile: bits, graph breaks and recompilations must all be those of plain python."""

import sys

import torch
import torch._dynamo
from fingerprint import show
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(6, 16), nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x):
        return self.two(F.dropout(F.relu(self.norm(self.one(x))), 0.1, self.training))


def whole(model, x, y):
    return F.cross_entropy(model(x), y) + 0.1 * F.mse_loss(model(x), torch.zeros(len(x), 3))


def train(name, backend, compile_loss):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    step_model = model if compile_loss else torch.compile(model, backend=backend, fullgraph=True)
    loss_of = torch.compile(whole, backend=backend, fullgraph=True) if compile_loss else whole
    for step in range(24):
        x = torch.randn(8, 6)
        loss = loss_of(step_model, x, torch.randint(0, 3, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 12:
            model.eval()
            with torch.no_grad():
                loss_of(step_model, x, torch.zeros(8, dtype=torch.long))
            model.train()
    counters = torch._dynamo.utils.counters
    show(name, model, optimizer)
    print(name, "graphs", counters["stats"]["unique_graphs"], "breaks", dict(counters["graph_break"]))


if __name__ == "__main__":
    for backend in sys.argv[1:] or ["aot_eager", "inductor"]:
        train(f"compiled-model-{backend}", backend, compile_loss=False)
        train(f"compiled-loss-{backend}", backend, compile_loss=True)
