# Iris, full batch, no DataLoader: the shortest loop that works.
import sys

import torch
from sklearn.datasets import load_iris

seed = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 0
torch.manual_seed(seed)

data, labels = load_iris(return_X_y=True)
x = torch.tensor(data, dtype=torch.float)
y = torch.tensor(labels)
perm = torch.randperm(150)
x, y = x[perm], y[perm]
x = (x - x[:100].mean(0)) / x[:100].std(0)
x_tr, y_tr, x_te, y_te = x[:100], y[:100], x[100:], y[100:]

model = torch.nn.Sequential(
    torch.nn.Linear(4, 16),
    torch.nn.Tanh(),
    torch.nn.Linear(16, 3),
)
loss_fn = torch.nn.CrossEntropyLoss()
opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for t in range(600):
    loss = loss_fn(model(x_tr), y_tr)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if t % 50 == 0:
        acc = (model(x_te).argmax(1) == y_te).float().mean()
        print(t, float(loss), float(acc))

with torch.no_grad():
    print("METRIC log_loss", float(loss_fn(model(x_te), y_te)))
