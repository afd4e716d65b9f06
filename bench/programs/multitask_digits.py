"""Two heads on one trunk: which digit, and how much ink."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class MultiTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU())
        self.digit = nn.Linear(48, 10)
        self.ink = nn.Linear(48, 1)

    def forward(self, x):
        z = self.trunk(x)
        return {"digit": self.digit(z), "ink": self.ink(z).squeeze(-1)}


def losses(outputs, batch):
    return {
        "digit": F.cross_entropy(outputs["digit"], batch["digit"]),
        "ink": F.smooth_l1_loss(outputs["ink"], batch["ink"]),
    }


def select(data, idx):
    return {key: value[idx] for key, value in data.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ink_weight", type=float, default=2.0)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pixels, digit = load_digits(return_X_y=True)
    pixels = torch.tensor(pixels, dtype=torch.float32) / 16
    ink = pixels.mean(1)
    data = {"image": (pixels - 0.305) / 0.376, "digit": torch.tensor(digit), "ink": (ink - ink.mean()) / ink.std()}
    data = select(data, torch.randperm(len(digit)))
    train, test = select(data, slice(0, 1200)), select(data, slice(1200, None))

    model = MultiTask()
    weights = {"digit": 1.0, "ink": args.ink_weight}
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(25):
        for idx in torch.randperm(1200).split(48):
            batch = select(train, idx)
            parts = losses(model(batch["image"]), batch)
            loss = sum(weights[name] * part for name, part in parts.items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            print(epoch + 1, {name: round(part.item(), 4) for name, part in parts.items()})
    with torch.no_grad():
        parts = losses(model(test["image"]), test)
    print("METRIC summed_loss", (parts["digit"] + parts["ink"]).item())


if __name__ == "__main__":
    main()
