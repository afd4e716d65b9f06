"""TorchScript (scripted functions that call loss functions and activations, traced modules) and FX graphs."""

import warnings

import torch
import torch.nn.functional as F
from fingerprint import show
from torch import nn

warnings.simplefilter("ignore")
torch.manual_seed(0)


@torch.jit.script
def scripted_loss(hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(F.relu(hidden), labels) + 0.1 * F.mse_loss(torch.sigmoid(hidden), torch.zeros_like(hidden))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(5, 9), nn.Linear(9, 4)

    def forward(self, x):
        return self.two(F.dropout(torch.tanh(F.relu(self.one(x))), 0.2, self.training))


models = {
    "scripted": torch.jit.script(Net()),
    "traced": torch.jit.trace(Net().eval(), torch.randn(2, 5)),
    "fx": torch.fx.symbolic_trace(Net()),
}
for name, model in models.items():
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(12):
        loss = scripted_loss(model(torch.randn(6, 5)), torch.randint(0, 4, (6,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    show(name, model.state_dict(), optimizer)
print(models["fx"].code)
exported = torch.export.export(Net().eval(), (torch.randn(2, 5),))
print([str(node.target) for node in exported.graph.nodes])
