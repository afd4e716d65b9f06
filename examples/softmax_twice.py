"""A classifier of handwriting-like strokes. Its loss will not fall below 1.04: why?"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
CLASSES, FEATURES = 6, 40


class StrokeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(FEATURES, 64)
        self.fc2 = nn.Linear(64, 64)
        self.fc3 = nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.softmax(self.fc3(x), dim=1)


def make_strokes(prototypes: torch.Tensor, count: int) -> TensorDataset:
    labels = torch.randint(0, CLASSES, (count,))
    return TensorDataset(prototypes[labels] + torch.randn(count, FEATURES), labels)


prototypes = torch.randn(CLASSES, FEATURES)
train_loader = DataLoader(make_strokes(prototypes, 3000), batch_size=50, shuffle=True)
test_loader = DataLoader(make_strokes(prototypes, 600), batch_size=100)
model = StrokeNet()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(8):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        test_loss = sum(criterion(model(x), y).item() for x, y in test_loader) / len(test_loader)
    print(f"epoch {epoch}  train loss {loss.item():.4f}  test loss {test_loss:.4f}")
