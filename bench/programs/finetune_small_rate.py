"""Pretrain on even digits, then fine-tune the whole network gently to odd digits (learning rate 1e-5)."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


def load(seed):
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)
    x = (x - x.mean()) / x.std()
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = x[order], y[order]
    even = y % 2 == 0
    return (x[even], y[even] // 2), (x[~even], y[~even] // 2)


def build():
    body = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU())
    return nn.Sequential(body, nn.Linear(512, 5))


def loop(model, optimizer, x, y, steps, batch_size=32, log_every=100):
    for step in range(steps):
        idx = torch.randint(0, len(x), (batch_size,))
        loss = F.cross_entropy(model(x[idx]), y[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % log_every == 0:
            print(f"  step {step} loss {loss.item():.4f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finetune-lr", type=float, default=1e-5)
    parser.add_argument("--finetune-steps", type=int, default=600)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    (x_even, y_even), (x_odd, y_odd) = load(args.seed)
    x_train, y_train, x_test, y_test = x_odd[:600], y_odd[:600], x_odd[600:], y_odd[600:]

    model = build()
    print("pretraining")
    loop(model, torch.optim.Adam(model.parameters(), lr=1e-3), x_even, y_even, steps=150)

    print("fine-tuning")
    model[1] = nn.Linear(512, 5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.finetune_lr)
    loop(model, optimizer, x_train, y_train, args.finetune_steps)

    model.eval()
    with torch.no_grad():
        print("METRIC log_loss", F.cross_entropy(model(x_test), y_test).item())


if __name__ == "__main__":
    main()
