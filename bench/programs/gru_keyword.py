"""Which of four motifs is hidden in a noisy sequence? Bidirectional GRU with packed, variable-length batches."""

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

MOTIFS = np.array([[1, 1, -1, -1, 1], [1, -1, 1, -1, 1], [-1, -1, -1, 1, 1], [-1, 1, 1, 1, -1]], dtype=np.float32) * 1.8


class Keywords(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.items = []
        for _ in range(n):
            length = int(rng.integers(10, 20))
            x = rng.normal(size=(length, 2)).astype(np.float32)
            label = int(rng.integers(4))
            start = int(rng.integers(0, length - 5))
            x[start : start + 5, 0] += MOTIFS[label]
            x[start : start + 5, 1] += 1.5
            self.items.append((torch.from_numpy(x), label))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(batch):
    xs, ys = zip(*batch, strict=True)
    lengths = torch.tensor([len(x) for x in xs])
    return pad_sequence(xs, batch_first=True), lengths, torch.tensor(ys)


class Spotter(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.gru = nn.GRU(2, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, 4)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, h = self.gru(packed)
        return self.out(torch.cat([h[0], h[1]], dim=1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    train = DataLoader(Keywords(1200, args.seed), batch_size=32, shuffle=True, collate_fn=collate)
    test = DataLoader(Keywords(500, args.seed + 999), batch_size=250, collate_fn=collate)
    model = Spotter()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.RAdam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        for x, lengths, y in train:
            optimizer.zero_grad()
            loss = criterion(model(x, lengths), y)
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            val = np.mean([criterion(model(x, n), y).item() for x, n, y in test])
        print(f"epoch {epoch}: train {loss.item():.3f} val {val:.3f}")
    print("METRIC log_loss", float(val))


if __name__ == "__main__":
    main()
