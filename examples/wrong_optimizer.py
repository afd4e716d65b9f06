"""Two networks are compared on the same spirals, one after the other. The second one does not learn: why?"""

import math

import torch
from torch import nn

torch.manual_seed(0)


def make_spirals(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(0, 2, (count,))
    radius = torch.rand(count).sqrt()
    angle = 2.5 * math.pi * radius + math.pi * labels
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return 2 * points + 0.04 * torch.randn(count, 2), labels


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 400) -> None:
    for step in range(steps):
        points, labels = make_spirals(128)
        loss = nn.functional.cross_entropy(model(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"  step {step + 1}  loss {loss.item():.4f}")


model_0 = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
model_1 = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(model_0.parameters(), lr=1e-2)

print("small network")
train(model_0, optimizer)
print("larger network")
train(model_1, optimizer)
