"""Online learning: one example at a time, plain SGD, as a stream would come."""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--examples", type=int, default=4000)
args = parser.parse_args()
torch.manual_seed(args.seed)

centres = torch.randn(4, 6) * 1.1


def draw():
    label = torch.randint(0, 4, (1,))
    return centres[label] + torch.randn(1, 6), label


model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 4))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
running = 0.0

for n in range(1, args.examples + 1):
    x, y = draw()
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    running += loss.item()
    if n % 500 == 0:
        print(f"after {n} examples: mean loss {running / 500:.4f}")
        running = 0.0

test_y = torch.randint(0, 4, (2000,))
test_x = centres[test_y] + torch.randn(2000, 6)
with torch.no_grad():
    print("METRIC log_loss", criterion(model(test_x), test_y).item())
