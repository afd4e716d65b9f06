"""Does a sequence of tokens contain more opening than closing brackets of its first kind? A tiny transformer decides."""

import argparse
import math

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import LambdaLR

VOCAB, LENGTH = 12, 16


def make_data(n, generator):
    tokens = torch.randint(2, VOCAB, (n, LENGTH), generator=generator)
    label = ((tokens == 3).sum(1) + (tokens == 4).sum(1) > (tokens == 5).sum(1) + (tokens == 6).sum(1)).long()
    return tokens, label


class Classifier(nn.Module):
    def __init__(self, d_model=32, heads=4, layers=2):
        super().__init__()
        self.d_model = d_model
        self.token = nn.Embedding(VOCAB, d_model)
        self.position = nn.Parameter(0.02 * torch.randn(1, LENGTH, d_model))
        layer = nn.TransformerEncoderLayer(d_model, heads, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d_model)
        self.classify = nn.Linear(d_model, 2)

    def forward(self, tokens):
        x = self.token(tokens) + self.position
        x = self.norm(self.encoder(x))
        return self.classify(x.mean(dim=1))


def warmup_cosine(warmup, total):
    def factor(step):
        if step < warmup:
            return step / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))

    return factor


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--steps", type=int, default=500)
    ap.add_argument("--warmup", type=int, default=100)
    ap.add_argument("--lr", type=float, default=2e-3)
    args = ap.parse_args()
    torch.manual_seed(args.seed)
    gen = torch.Generator().manual_seed(args.seed)
    x, y = make_data(3000, gen)
    vx, vy = make_data(800, gen)

    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    scheduler = LambdaLR(optimizer, warmup_cosine(args.warmup, args.steps))
    criterion = nn.CrossEntropyLoss()

    model.train()
    for step in range(args.steps):
        pick = torch.randint(0, len(x), (32,), generator=gen)
        loss = criterion(model(x[pick]), y[pick])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 99:
            model.eval()
            with torch.no_grad():
                accuracy = (model(vx).argmax(1) == vy).float().mean().item()
            model.train()
            print(f"step {step + 1} lr {scheduler.get_last_lr()[0]:.2e} loss {loss.item():.4f} val acc {accuracy:.4f}")
    print(f"METRIC accuracy {accuracy:.5f}")


if __name__ == "__main__":
    main()
