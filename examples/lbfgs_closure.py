"""A closure: L-BFGS, which evaluates the loss several times a step, fits a small network to a damped oscillation."""

import torch
from torch import nn

torch.manual_seed(0)

t = torch.linspace(0, 1, 200).unsqueeze(1)
y = torch.exp(-2 * t) * torch.cos(12 * t)

model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=10, history_size=20, line_search_fn="strong_wolfe")


def closure() -> torch.Tensor:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(2 * t - 1), y)
    loss.backward()
    return loss


for step in range(60):
    loss = optimizer.step(closure)
    if step % 10 == 0:
        print(f"step {step:3d}  loss {loss.item():.3e}")

with torch.no_grad():
    print(f"largest error {(model(2 * t - 1) - y).abs().max():.2e}")
