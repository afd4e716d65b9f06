"""Parameters that appear, freeze and thaw after the first step; a loss that turns NaN; an exception that is caught."""

import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2))
model(torch.randn(2, 5))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(24):
    x = torch.randn(6, 5)
    if step == 8:
        model.insert(2, nn.Linear(8, 8))
        optimizer.add_param_group({"params": model[2].parameters()})
    if step in (12, 16):
        model[0].requires_grad_(step == 16)
    loss = nn.functional.mse_loss(model(x), x[:, :2])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    try:
        model(torch.randn(2, 3))
    except RuntimeError:
        pass
show("growing", model, optimizer)

for _ in range(6):
    loss = nn.functional.mse_loss(model(x), x[:, :2]) * float("nan")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        nn.functional.mse_loss(model(x), x[:, :2])
show("not-a-number", model, optimizer)
