"""Digits with bfloat16 autocast and torch.optim.AdamW."""

import argparse
import contextlib

import torch
from sklearn.datasets import load_digits
from torch import nn


def get_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--no-amp", action="store_true")
    return parser


class Engine:
    def __init__(self, args):
        torch.manual_seed(args.seed)
        self.args = args
        data = load_digits()
        perm = torch.randperm(len(data.target))
        self.x = (torch.tensor(data.data, dtype=torch.float32)[perm] - 4.88) / 6.02
        self.y = torch.tensor(data.target)[perm]
        self.model = nn.Sequential(
            nn.Linear(64, 128), nn.Hardswish(), nn.Linear(128, 64), nn.Hardswish(), nn.Linear(64, 10)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.05, args.iterations)
        self.criterion = nn.CrossEntropyLoss()

    def autocast(self):
        if self.args.no_amp:
            return contextlib.nullcontext()
        return torch.autocast("cpu", dtype=torch.bfloat16)

    def training_step(self, x, y):
        self.optimizer.zero_grad()
        with self.autocast():
            loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def validate(self):
        with torch.no_grad(), self.autocast():
            return self.criterion(self.model(self.x[1200:]).float(), self.y[1200:]).item()

    def run(self):
        for i in range(1, self.args.iterations + 1):
            pick = torch.randint(0, 1200, (self.args.batch_size,))
            loss = self.training_step(self.x[pick], self.y[pick])
            if i % 100 == 0:
                print(f"iteration {i}: loss {loss:.4f}, validation {self.validate():.4f}")
        return self.validate()


if __name__ == "__main__":
    print("METRIC log_loss", Engine(get_parser().parse_args()).run())
