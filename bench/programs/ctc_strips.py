"""Reading numbers from a strip: a convolution over columns, a GRU, and the CTC loss. Each glyph is a few columns wide."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

GLYPHS, HEIGHT, COLUMNS = 5, 6, 22


def render(words, glyphs, generator):
    """Each symbol is three or four columns of its pattern, blank columns between, and noise."""
    strips = torch.zeros(len(words), HEIGHT, COLUMNS)
    for strip, word in zip(strips, words, strict=True):
        position = 1
        for symbol in word:
            width = 3 + int(torch.randint(0, 2, (), generator=generator))
            strip[:, position : position + width] = glyphs[symbol][:, :width]
            position += width + 1
    return strips + 0.3 * torch.randn(strips.shape, generator=generator)


def make_words(n, generator):
    lengths = torch.randint(2, 5, (n,), generator=generator)
    return [torch.randint(0, GLYPHS, (int(k),), generator=generator).tolist() for k in lengths]


class Reader(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.conv = nn.Conv1d(HEIGHT, width, 3, padding=1)
        self.rnn = nn.GRU(width, width // 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(width, GLYPHS + 1)

    def forward(self, strips):
        columns = F.relu(self.conv(strips)).transpose(1, 2)
        return F.log_softmax(self.head(self.rnn(columns)[0]), dim=-1)


def greedy(log_probs):
    """Best path, repeats merged, blanks (0) removed."""
    words = []
    for path in log_probs.argmax(-1).tolist():
        merged = [s for s, before in zip(path, [0, *path[:-1]], strict=True) if s != before]
        words.append([s - 1 for s in merged if s])
    return words


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def ctc(model, strips, words):
    log_probs = model(strips).transpose(0, 1)
    targets = torch.tensor([s + 1 for word in words for s in word])
    input_lengths = torch.full((len(words),), COLUMNS)
    target_lengths = torch.tensor([len(word) for word in words])
    return F.ctc_loss(log_probs, targets, input_lengths, target_lengths)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    glyphs = torch.randint(0, 2, (GLYPHS, HEIGHT, 4), generator=torch.Generator().manual_seed(7)).float()
    words, test_words = make_words(800, generator), make_words(150, generator)
    strips, test_strips = render(words, glyphs, generator), render(test_words, glyphs, generator)

    model = Reader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        for index in torch.randperm(len(words)).split(32):
            loss = ctc(model, strips[index], [words[i] for i in index.tolist()])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        print(f"epoch {epoch} ctc {loss.item():.3f}")
    model.eval()
    with torch.no_grad():
        read = greedy(model(test_strips))
    wrong = sum(edits(a, b) for a, b in zip(read, test_words, strict=True))
    print("METRIC symbol_error_rate", wrong / sum(len(word) for word in test_words))
