"""Ordinal regression: quality grades as ordered thresholds on a score (cumulative link)."""

import argparse

import numpy as np
import torch
from torch import nn

GRADES = 5


def make_data(seed, n=1600):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8))
    score = 1.5 * x[:, 0] - x[:, 1] * x[:, 2] + np.sin(2 * x[:, 3]) + 0.3 * rng.normal(size=n)
    cuts = np.quantile(score, np.linspace(0, 1, GRADES + 1)[1:-1])
    grade = np.digitize(score, cuts)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(grade)


class CumulativeLink(nn.Module):
    """P(grade <= k) = sigmoid(cut_k - score), cuts kept in order by summing positive gaps."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor(-1.5))
        self.gaps = nn.Parameter(torch.zeros(GRADES - 2))

    def forward(self, score):
        cuts = torch.cat([self.first[None], self.first + nn.functional.softplus(self.gaps).cumsum(0)])
        below = torch.sigmoid(cuts - score)
        padded = torch.cat([torch.zeros_like(score), below, torch.ones_like(score)], dim=1)
        return padded[:, 1:] - padded[:, :-1]


def negative_log_likelihood(probability, grade):
    return -torch.log(probability.gather(1, grade[:, None]) + 1e-9).mean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    x, grade = make_data(args.seed)
    x_train, x_test, g_train, g_test = x[:1200], x[1200:], grade[:1200], grade[1200:]

    scorer = nn.Sequential(nn.Linear(8, 32), nn.Softplus(), nn.Linear(32, 32), nn.Softplus(), nn.Linear(32, 1))
    link = CumulativeLink()
    optimizer = torch.optim.NAdam(
        [{"params": scorer.parameters()}, {"params": link.parameters(), "lr": 2 * args.lr}], lr=args.lr
    )
    for epoch in range(args.epochs):
        for idx in torch.randperm(len(x_train)).chunk(30):
            loss = negative_log_likelihood(link(scorer(x_train[idx])), g_train[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: {loss.item():.4f}")
    with torch.no_grad():
        print("METRIC nll", negative_log_likelihood(link(scorer(x_test)), g_test).item())
