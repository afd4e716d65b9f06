import argparse

import torch
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser(description="Two moons with warm restarts")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=42)
args = parser.parse_args()
torch.manual_seed(args.seed)

X, y = make_moons(n_samples=1400, noise=0.15, random_state=args.seed)
X_tr, X_va, y_tr, y_va = train_test_split(X, y, train_size=800, random_state=args.seed)
as_float = lambda a: torch.as_tensor(a, dtype=torch.float32)  # noqa: E731
train_dl = DataLoader(TensorDataset(as_float(X_tr), as_float(y_tr)), batch_size=32, shuffle=True, drop_last=True)
valid = as_float(X_va), as_float(y_va)

model = nn.Sequential(
    nn.Linear(2, 24),
    nn.SiLU(),
    nn.Linear(24, 24),
    nn.SiLU(),
    nn.Linear(24, 1),
    nn.Flatten(0),
)
bce = nn.BCEWithLogitsLoss()
sgd = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
scheduler = CosineAnnealingWarmRestarts(sgd, T_0=6, T_mult=2)

for epoch in range(args.epochs):
    for i, (xb, yb) in enumerate(train_dl):
        sgd.zero_grad()
        loss = bce(model(xb), yb)
        loss.backward()
        sgd.step()
        scheduler.step(epoch + i / len(train_dl))
    with torch.no_grad():
        val = bce(model(valid[0]), valid[1]).item()
    if epoch % 6 == 5:
        print(f"epoch {epoch + 1} lr {sgd.param_groups[0]['lr']:.4f} loss {loss.item():.4f} val {val:.4f}")
print("METRIC log_loss", val)
