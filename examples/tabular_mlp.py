"""A plain training loop: a multi-layer perceptron on a generated table, with a validation set and early stopping."""

import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)


def make_table(rows: int = 6000, columns: int = 12) -> TensorDataset:
    """Two classes divided by a curved border in the first four columns; the other columns are noise."""
    x = torch.randn(rows, columns)
    score = x[:, 0] * x[:, 1] + torch.sin(2 * x[:, 2]) + 0.5 * x[:, 3]
    y = (score + 0.2 * torch.randn(rows) > 0).long()
    return TensorDataset(x, y)


def evaluate(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    model.eval()
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += nn.functional.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            count += len(y)
    return loss / count, right / count


table = make_table()
train_set, validation_set = random_split(table, [5000, 1000])
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
validation_loader = DataLoader(validation_set, batch_size=250)

model = nn.Sequential(
    nn.Linear(12, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 2)
)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)

best_loss, best_weights, waited = float("inf"), model.state_dict(), 0
for epoch in range(20):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    validation_loss, accuracy = evaluate(model, validation_loader)
    print(f"epoch {epoch:2d}  validation loss {validation_loss:.4f}  accuracy {accuracy:.3f}")
    if validation_loss < best_loss:
        best_loss, best_weights, waited = validation_loss, copy.deepcopy(model.state_dict()), 0
    else:
        waited += 1
        if waited == 3:
            break

model.load_state_dict(best_weights)
print(f"best validation loss {best_loss:.4f}")
