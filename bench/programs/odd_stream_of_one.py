"""Clicks as they come in: one event a step, plain SGD with a decaying rate, progressive validation, no epochs."""

import argparse
import math

import torch
from torch import nn


def events(n, generator):
    weights = torch.randn(20, generator=generator)
    for _ in range(n):
        x = (torch.rand(20, generator=generator) < 0.3).float()
        p = torch.sigmoid(0.8 * (x @ weights) - 1.0)
        yield x, (torch.rand(1, generator=generator) < p).float(), p


def main(seed):
    torch.manual_seed(seed)
    model = nn.Linear(20, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    excess, counted = 0.0, 0
    for t, (x, y, p) in enumerate(events(5000, torch.Generator().manual_seed(seed)), 1):
        for group in optimizer.param_groups:
            group["lr"] = 0.2 / math.sqrt(1 + t / 50)
        logit = model(x)
        loss = nn.functional.softplus(logit) - y * logit
        if t > 3000:
            q = torch.sigmoid(logit.detach())
            excess += float(p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q)))
            counted += 1
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("METRIC excess", round(excess / counted, 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
