"""Gradient accumulation over four batches, clipping, and a cosine schedule with warm-up: an LSTM tells sequences apart."""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
ACCUMULATE, EPOCHS, WARMUP = 4, 6, 20


def make_waves(count: int, length: int = 40) -> TensorDataset:
    """Noisy sine and triangle waves of random frequency and phase."""
    labels = torch.randint(0, 2, (count,))
    frequency, phase = torch.empty(count, 1).uniform_(1.5, 4), torch.rand(count, 1)
    turns = frequency * torch.linspace(0, 1, length) + phase
    sine = torch.sin(2 * math.pi * turns)
    triangle = 4 * (turns % 1 - 0.5).abs() - 1
    waves = torch.where(labels.unsqueeze(1) == 1, sine, triangle) + 0.05 * torch.randn(count, length)
    return TensorDataset(waves.unsqueeze(-1), labels.float())


class WaveReader(nn.Module):
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, width, batch_first=True)
        self.score = nn.Linear(width, 1)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(waves)
        return self.score(states.mean(dim=1)).squeeze(1)


loader = DataLoader(make_waves(3200), batch_size=16, shuffle=True, drop_last=True)
model = WaveReader()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
total = EPOCHS * len(loader) // ACCUMULATE
scheduler = torch.optim.lr_scheduler.SequentialLR(
    optimizer,
    [
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=WARMUP),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - WARMUP),
    ],
    milestones=[WARMUP],
)

for epoch in range(EPOCHS):
    total_loss = 0.0
    for index, (waves, labels) in enumerate(loader, start=1):
        loss = nn.functional.binary_cross_entropy_with_logits(model(waves), labels)
        (loss / ACCUMULATE).backward()
        total_loss += loss.item()
        if index % ACCUMULATE == 0:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    print(f"epoch {epoch}  loss {total_loss / len(loader):.4f}  learning rate {scheduler.get_last_lr()[0]:.1e}")
