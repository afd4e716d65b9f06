import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes


def get_arguments():
    p = argparse.ArgumentParser(description="Disease progression one year after baseline")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--epochs", type=int, default=60)
    p.add_argument("--lr", type=float, default=0.01)
    p.add_argument("--wd", type=float, default=1e-3)
    return p.parse_args()


class Net(torch.nn.Module):
    def __init__(self, n_feature, n_hidden, n_output):
        super().__init__()
        self.hidden = torch.nn.Linear(n_feature, n_hidden)
        self.predict = torch.nn.Linear(n_hidden, n_output)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        return self.predict(x)


args = get_arguments()
torch.manual_seed(args.seed)
x, y = load_diabetes(return_X_y=True, scaled=False)
x = torch.tensor(x, dtype=torch.float32)
y = torch.tensor(y, dtype=torch.float32).view(-1, 1)
shuffle = torch.randperm(len(x))
x, y = x[shuffle], y[shuffle]
n = 340
x = (x - x[:n].mean(dim=0)) / x[:n].std(dim=0)
y = (y - y[:n].mean()) / y[:n].std()

train_set = torch.utils.data.TensorDataset(x[:n], y[:n])
loader = torch.utils.data.DataLoader(train_set, batch_size=20, shuffle=True)

net = Net(n_feature=10, n_hidden=24, n_output=1)
optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, weight_decay=args.wd)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.3)

for epoch in range(args.epochs):
    for batch_x, batch_y in loader:
        prediction = net(batch_x)
        loss = F.mse_loss(prediction, batch_y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    if epoch % 10 == 0 or epoch == args.epochs - 1:
        with torch.no_grad():
            test_loss = F.mse_loss(net(x[n:]), y[n:])
        print("epoch", epoch, "train loss", loss.item(), "test loss", test_loss.item())

with torch.no_grad():
    residual = y[n:] - net(x[n:])
    r2 = 1 - residual.square().sum() / (y[n:] - y[:n].mean()).square().sum()
print("METRIC r2", r2.item())
