"""Sequence to sequence with attention: reverse a string of symbols and increment each (teacher forcing)."""

import argparse
import random

import torch
import torch.nn as nn
import torch.nn.functional as F

PAD, BOS = 0, 1
SYMBOLS = 10
VOCAB = SYMBOLS + 2


def sample(n, rng):
    lengths = [rng.randint(3, 7) for _ in range(n)]
    source = torch.full((n, 7), PAD)
    target = torch.full((n, 7), PAD)
    for i, length in enumerate(lengths):
        word = [rng.randrange(SYMBOLS) for _ in range(length)]
        source[i, :length] = torch.tensor(word) + 2
        target[i, :length] = torch.tensor([(s + 1) % SYMBOLS for s in reversed(word)]) + 2
    return source, target


class Encoder(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 16, padding_idx=PAD)
        self.gru = nn.GRU(16, size // 2, batch_first=True, bidirectional=True)

    def forward(self, source):
        return self.gru(self.embedding(source))[0]


class Decoder(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(VOCAB, 16)
        self.cell = nn.GRUCell(16 + size, size)
        self.query = nn.Linear(size, size)
        self.out = nn.Linear(2 * size, VOCAB)

    def step(self, token, hidden, memory, mask):
        score = torch.einsum("bd,btd->bt", self.query(hidden), memory) / self.size**0.5
        weights = score.masked_fill(mask, float("-inf")).softmax(-1)
        context = torch.einsum("bt,btd->bd", weights, memory)
        hidden = self.cell(torch.cat([self.embedding(token), context], -1), hidden)
        return self.out(torch.cat([hidden, context], -1)), hidden


def decode(encoder, decoder, source, target=None):
    memory, mask = encoder(source), source == PAD
    hidden = memory.new_zeros(len(source), decoder.size) + memory.mean(1)
    token = torch.full((len(source),), BOS)
    outputs = []
    for t in range(source.shape[1]):
        logits, hidden = decoder.step(token, hidden, memory, mask)
        outputs.append(logits)
        token = logits.argmax(-1) if target is None else target[:, t]
    return torch.stack(outputs, 1)


def train(args):
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    encoder, decoder = Encoder(args.size), Decoder(args.size)
    params = list(encoder.parameters()) + list(decoder.parameters())
    optimizer = torch.optim.Adam(params, lr=args.lr)
    for iteration in range(args.iterations):
        source, target = sample(32, rng)
        logits = decode(encoder, decoder, source, target)
        loss = F.cross_entropy(logits.transpose(1, 2), target, ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, args.clip)
        optimizer.step()
        if iteration % 60 == 0:
            print(f"iteration {iteration}: loss {loss.item():.3f}")
    encoder.eval(), decoder.eval()
    with torch.no_grad():
        source, target = sample(200, random.Random(12345))
        guess = decode(encoder, decoder, source).argmax(-1)
        right = (guess == target)[target != PAD].float().mean().item()
    print("METRIC symbol_accuracy", right)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--clip", type=float, default=1.0)
    train(parser.parse_args())
