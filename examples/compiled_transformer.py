"""torch.compile: a small transformer learns to sort digits. Without a C++ compiler it runs uncompiled."""

import shutil

import torch
from torch import nn

torch.manual_seed(0)
LENGTH, DIGITS = 8, 10


class Sorter(nn.Module):
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(DIGITS, width)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=96, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.read = nn.Linear(width, DIGITS)

    def forward(self, digits: torch.Tensor) -> torch.Tensor:
        return self.read(self.encoder(self.embed(digits) + self.position))


model = Sorter()
if shutil.which("c++") or shutil.which("g++"):
    model = torch.compile(model, backend="inductor")
else:
    print("no C++ compiler: running uncompiled")

optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=400)
for step in range(400):
    digits = torch.randint(0, DIGITS, (64, LENGTH))
    logits = model(digits)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), digits.sort(dim=1).values.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if step % 100 == 0:
        print(f"step {step:3d}  loss {loss.item():.3f}")

model.eval()
with torch.no_grad():
    digits = torch.randint(0, DIGITS, (64, LENGTH))
    right = (model(digits).argmax(-1) == digits.sort(dim=1).values).float().mean()
print(f"digits in the right place: {right:.3f}")
