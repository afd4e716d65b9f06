"""A wide network, 150 noisy examples and many epochs: the training loss looks splendid. Is it?"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
FEATURES = 30


def make_patients(count: int, weights: torch.Tensor) -> TensorDataset:
    x = torch.randn(count, FEATURES)
    y = (x @ weights + 1.5 * torch.randn(count) > 0).float()
    return TensorDataset(x, y)


weights = torch.randn(FEATURES) * (torch.arange(FEATURES) < 5)
train_loader = DataLoader(make_patients(150, weights), batch_size=25, shuffle=True)
validation_loader = DataLoader(make_patients(500, weights), batch_size=250)
model = nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.BCEWithLogitsLoss()


@torch.no_grad()
def validate() -> float:
    model.eval()
    losses = [criterion(model(x).squeeze(1), y) for x, y in validation_loader]
    return torch.stack(losses).mean().item()


for epoch in range(60):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x).squeeze(1), y)
        loss.backward()
        optimizer.step()
    validation_loss = validate()
    if epoch % 10 == 9:
        print(f"epoch {epoch + 1}  train loss {loss.item():.4f}  validation loss {validation_loss:.4f}")
