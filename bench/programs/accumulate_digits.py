"""Digits with micro-batches of eight accumulated to batches of sixty-four."""

import argparse

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--micro_batch", type=int, default=8)
parser.add_argument("--accumulation_steps", type=int, default=8)
args = parser.parse_args()
torch.manual_seed(args.seed)

digits = load_digits()
inputs = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1
targets = torch.tensor(digits.target)
perm = torch.randperm(len(inputs))
train_idx, test_idx = perm[:1280], perm[1280:]

net = nn.Sequential(
    nn.Linear(64, 64),
    nn.LayerNorm(64),
    nn.GELU(),
    nn.Linear(64, 10),
)
loss_function = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)


def evaluate():
    net.eval()
    with torch.no_grad():
        return loss_function(net(inputs[test_idx]), targets[test_idx]).item()


for epoch in range(args.epochs):
    net.train()
    order = train_idx[torch.randperm(len(train_idx))]
    optimizer.zero_grad()
    for i, batch in enumerate(order.split(args.micro_batch)):
        loss = loss_function(net(inputs[batch]), targets[batch]) / args.accumulation_steps
        loss.backward()
        if (i + 1) % args.accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
    print(f"epoch {epoch}: val_loss {evaluate():.4f}")

print("METRIC log_loss", evaluate())
