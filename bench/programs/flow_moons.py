"""A real-valued non-volume-preserving flow fitted to two moons by maximum likelihood."""

import argparse
import math

import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn


class Coupling(nn.Module):
    """Scales and shifts one coordinate by functions of the other."""

    def __init__(self, keep: int, hidden: int = 32):
        super().__init__()
        self.keep = keep
        self.net = nn.Sequential(
            nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x[:, self.keep], x[:, 1 - self.keep]
        raw_scale, shift = self.net(kept[:, None]).unbind(1)
        log_scale = 2 * torch.tanh(raw_scale / 2)
        changed = changed * torch.exp(log_scale) + shift
        pair = (kept, changed) if self.keep == 0 else (changed, kept)
        return torch.stack(pair, dim=1), log_scale


class Flow(nn.Module):
    def __init__(self, layers: int = 6):
        super().__init__()
        self.layers = nn.ModuleList([Coupling(k % 2) for k in range(layers)])

    def log_prob(self, x: Tensor) -> Tensor:
        total = torch.zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return total - 0.5 * (x**2).sum(1) - math.log(2 * math.pi)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    data, _ = make_moons(3000, noise=0.05, random_state=args.seed)
    data = torch.tensor(data, dtype=torch.float32)
    data = (data - data.mean(0)) * 2
    train, test = data[:2400], data[2400:]

    flow = Flow()
    optimizer = torch.optim.Adam(flow.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(args.steps):
        batch = train[torch.randint(0, len(train), (128,))]
        loss = -flow.log_prob(batch).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 0:
            print(f"{step:4d}  bits {loss.item() / math.log(2):.3f}")
    with torch.no_grad():
        print("METRIC nll", -flow.log_prob(test).mean().item())


if __name__ == "__main__":
    main()
