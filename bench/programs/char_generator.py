"""A character model of Python's own help texts: batches come from a generator, training runs `while step < N`."""

import argparse
import math
from pydoc_data import topics

import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seq_len", type=int, default=24)
parser.add_argument("--batch", type=int, default=24)
parser.add_argument("--lr", type=float, default=8e-3)
args = parser.parse_args()
torch.manual_seed(args.seed)

LETTERS = "abcdefghijklmnopqrstuvwxyz .,'"


def corpus():
    text = " ".join(topics.topics[name].lower() for name in ("import", "types", "strings", "compound"))
    return torch.tensor([LETTERS.index(c) for c in " ".join(text.split()) if c in LETTERS])


def stream(data, seed):
    """Yields windows and the windows shifted by one, for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        start = torch.randint(0, len(data) - args.seq_len - 1, (args.batch,), generator=generator)
        index = start[:, None] + torch.arange(args.seq_len)
        yield data[index], data[index + 1]


class CharModel(nn.Module):
    def __init__(self, size=64):
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS), 24)
        self.rnn = nn.GRU(24, size, batch_first=True)
        self.head = nn.Linear(size, len(LETTERS))

    def forward(self, tokens):
        hidden, _ = self.rnn(self.embed(tokens))
        return self.head(hidden)


def nats(logits, target):
    """Cross-entropy by hand: log-sum-exp of the logits minus the logit of the right character."""
    return (torch.logsumexp(logits, -1) - logits.gather(-1, target[..., None])[..., 0]).mean()


data = corpus()
cut = int(0.9 * len(data))
train_batches, valid_batches = stream(data[:cut], args.seed), stream(data[cut:], 99)
model = CharModel()
optimizer = torch.optim.RMSprop(model.parameters(), lr=args.lr)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: max(0.05, 1 - s / args.steps))

step = 0
while step < args.steps:
    tokens, target = next(train_batches)
    loss = nats(model(tokens), target)
    model.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
    optimizer.step()
    schedule.step()
    step += 1
    if step % 100 == 0:
        print(f"{step:4d} {loss.item() / math.log(2):.3f} bits per character")

with torch.no_grad():
    held_out = sum(nats(model(t), y).item() for t, y in (next(valid_batches) for _ in range(30))) / 30
print("METRIC nats_per_character", held_out)
