"""Small training scripts, and how a test names them to a trial."""

from __future__ import annotations

from pathlib import Path

from vivavoce.repair.specification import Program

CATALOGUE = "tests.repair.remedies"
STEPS = 60

TRAINING = """\
import torch
import torch.nn.functional as F

torch.manual_seed(0)
x = torch.randn(256, 8)
y = x @ torch.randn(8, 1) + 0.1 * torch.randn(256, 1)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(60):
    pick = torch.randint(0, 256, (32,))
    optimizer.zero_grad()
    loss = F.mse_loss(model(x[pick]), y[pick])
    loss.backward()
    optimizer.step()
print("loss", loss.item())
"""
SICK = TRAINING.replace("    optimizer.zero_grad()\n", "")


def program(folder: Path, text: str, *arguments: str, name: str = "train.py") -> Program:
    """Write a script into `folder`; the program that runs it there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return Program((str(folder),), str(folder), name, arguments=arguments)
