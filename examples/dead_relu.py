"""Regression on house-like records with a learning rate that worked on another data set. The loss hardly moves: why?"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


class Regressor(nn.Module):
    def __init__(self, inputs: int = 8, width: int = 64) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(inputs, width)
        self.hidden2 = nn.Linear(width, width)
        self.output = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.hidden1(x))
        x = torch.relu(self.hidden2(x))
        return self.output(x)


records = torch.randn(3000, 8)
price = 10 + 3 * records[:, :1] + 2 * records[:, 1:2] * records[:, 2:3] + 0.5 * torch.randn(3000, 1)
loader = DataLoader(TensorDataset(records, price), batch_size=50, shuffle=True)
model = Regressor()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(8):
    total = 0.0
    for x, y in loader:
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}  mean squared error {total / len(loader):.3f}")
