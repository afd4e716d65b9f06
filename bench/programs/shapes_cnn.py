"""Squares, discs, crosses and stripes: a plain CNN without normalisation layers, trained by a Learner."""

import argparse
import math

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

SIZE = 16


def draw(kind, cx, cy, r):
    yy, xx = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    dx, dy = xx - cx, yy - cy
    if kind == 0:
        return (dx.abs() <= r) & (dy.abs() <= r)
    if kind == 1:
        return dx**2 + dy**2 <= (1.2 * r) ** 2
    if kind == 2:
        return ((dx.abs() <= 1) & (dy.abs() <= r + 1)) | ((dy.abs() <= 1) & (dx.abs() <= r + 1))
    return (dx.abs() <= r) & (dy.abs() <= r) & (dy % 2 == 0)


def make_dataset(n, seed):
    g = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 4, (n,), generator=g)
    centres = torch.randint(5, SIZE - 5, (n, 2), generator=g).tolist()
    radii = torch.randint(3, 5, (n,), generator=g).tolist()
    images = torch.stack(
        [draw(k, cx, cy, r).float() for k, (cx, cy), r in zip(kinds.tolist(), centres, radii, strict=True)]
    )
    images = images + 0.3 * torch.randn(n, SIZE, SIZE, generator=g)
    return TensorDataset(images.unsqueeze(1), kinds)


def init_weights(m):
    if isinstance(m, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_uniform_(m.weight, a=math.sqrt(5))


class Learner:
    def __init__(self, train, valid, model, loss_func, lr, bs=32):
        self.train_dl, self.valid_dl = DataLoader(train, bs, shuffle=True), DataLoader(valid, 4 * bs)
        self.model, self.loss_func = model, loss_func
        self.opt = torch.optim.SGD(model.parameters(), lr, momentum=0.9)

    def one_batch(self, xb, yb):
        self.preds = self.model(xb)
        self.loss = self.loss_func(self.preds, yb)
        if self.model.training:
            self.loss.backward()
            self.opt.step()
            self.opt.zero_grad()

    def one_epoch(self, training):
        self.model.train(training)
        total = count = 0
        for xb, yb in self.train_dl if training else self.valid_dl:
            with torch.set_grad_enabled(training):
                self.one_batch(xb, yb)
            total += self.loss.item() * len(xb)
            count += len(xb)
        return total / count

    def fit(self, n_epochs):
        for epoch in range(n_epochs):
            train_loss, valid_loss = self.one_epoch(True), self.one_epoch(False)
            print(f"{epoch:>3} {train_loss:.4f} {valid_loss:.4f}")
        return valid_loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=14)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    train, valid = make_dataset(900, args.seed), make_dataset(400, args.seed + 5000)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 16, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )
    model.apply(init_weights)
    print("METRIC log_loss", Learner(train, valid, model, nn.CrossEntropyLoss(), args.lr).fit(args.epochs))


if __name__ == "__main__":
    main()
