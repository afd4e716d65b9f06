import torch
from fingerprint import show
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

torch.manual_seed(0)
model = nn.Sequential(
    parametrizations.weight_norm(nn.Linear(6, 10)),
    nn.ELU(),
    parametrizations.spectral_norm(nn.Linear(10, 10)),
    nn.Softplus(),
    parametrizations.orthogonal(nn.Linear(10, 10)),
    nn.Linear(10, 2),
)
prune.l1_unstructured(model[-1], "weight", amount=0.3)
optimizer = torch.optim.NAdam(model.parameters(), lr=1e-2)
for step in range(20):
    x = torch.randn(8, 6)
    with parametrize.cached():
        loss = nn.functional.huber_loss(model(x), x[:, :2])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 12:
        parametrize.remove_parametrizations(model[0], "weight")
        optimizer.add_param_group({"params": [model[0].weight], "lr": 1e-3})
show("parametrized", model, optimizer)
