"""Proportional hazards with a neural risk score (Cox partial likelihood on batches)."""

import argparse

import torch
from torch import nn


def cohort(n, generator):
    x = torch.randn(n, 8, generator=generator)
    risk = 1.2 * x[:, 0] - 0.8 * x[:, 1] + x[:, 2] * x[:, 3] + 0.7 * x[:, 4].square()
    time = torch.empty(n).exponential_(generator=generator) * torch.exp(-risk)
    censoring = torch.empty(n).exponential_(generator=generator) * 1.5
    return x, torch.minimum(time, censoring), (time <= censoring).float()


def partial_likelihood(score, time, event):
    order = torch.argsort(time, descending=True)
    score, event = score[order], event[order]
    log_risk = torch.logcumsumexp(score, dim=0)
    return -((score - log_risk) * event).sum() / event.sum()


@torch.no_grad()
def concordance(score, time, event):
    earlier = (time[:, None] < time[None, :]) & (event[:, None] == 1)
    right = (score[:, None] > score[None, :]) & earlier
    tied = (score[:, None] == score[None, :]) & earlier
    return ((right.sum() + 0.5 * tied.sum()) / earlier.sum()).item()


class Risk(nn.Module):
    def __init__(self, width=32, dropout=0.1):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(8, width),
            nn.SELU(),
            nn.AlphaDropout(dropout),
            nn.Linear(width, width),
            nn.SELU(),
            nn.Linear(width, 1, bias=False),
        )

    def forward(self, x):
        return self.model(x).flatten()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    train, test = cohort(1200, generator), cohort(600, generator)
    net = Risk()
    optimizer = torch.optim.Adamax(net.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        net.train()
        for idx in torch.randperm(1200).split(80):
            x, time, event = (column[idx] for column in train)
            loss = partial_likelihood(net(x), time, event)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 10 == 9:
            net.eval()
            print(f"epoch {epoch + 1}: loss {loss.item():.4f} concordance {concordance(net(test[0]), *test[1:]):.4f}")
    net.eval()
    print("METRIC concordance", concordance(net(test[0]), *test[1:]))


if __name__ == "__main__":
    main()
