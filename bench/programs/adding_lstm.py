"""The adding problem: sum the two marked numbers of a sequence."""

import argparse

import torch
from torch import nn


def batch(size, length, generator):
    values = torch.rand(size, length, generator=generator)
    marks = torch.zeros(size, length)
    first = torch.randint(0, length // 2, (size,), generator=generator)
    second = torch.randint(length // 2, length, (size,), generator=generator)
    rows = torch.arange(size)
    marks[rows, first] = 1.0
    marks[rows, second] = 1.0
    target = (values * marks).sum(1)
    return torch.stack([values, marks], dim=2), target


class Adder(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.lstm = nn.LSTM(2, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.linear(out[:, -1]).squeeze(1)


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=900)
parser.add_argument("--length", type=int, default=16)
parser.add_argument("--lr", type=float, default=5e-3)
parser.add_argument("--clip", type=float, default=1.0)
args = parser.parse_args()

torch.manual_seed(args.seed)
gen = torch.Generator().manual_seed(args.seed + 100)
test_x, test_y = batch(512, args.length, gen)

model = Adder(32)
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
mse = nn.MSELoss()

for step in range(1, args.steps + 1):
    x, y = batch(64, args.length, gen)
    optimizer.zero_grad()
    loss = mse(model(x), y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
    optimizer.step()
    if step % 100 == 0:
        with torch.no_grad():
            test_loss = mse(model(test_x), test_y)
        print(step, "train", round(loss.item(), 5), "test", round(test_loss.item(), 5))

with torch.no_grad():
    print("METRIC mse", mse(model(test_x), test_y).item())
