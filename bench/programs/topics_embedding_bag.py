"""Which help topic is a snippet from? EmbeddingBag over hashed words and word pairs, in the manner of fastText."""

import argparse
import re
import zlib
from itertools import pairwise
from pydoc_data import topics

import torch
from torch import nn
from torch.utils.data import DataLoader

BUCKETS = 4000
WORDS = 12
NAMES = ("assignment", "import", "debugger", "typesseq", "formatstrings", "compound", "string-methods", "specialnames")


def bucket(feature):
    return zlib.crc32(feature.encode()) % BUCKETS


def featurise(words):
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    return [bucket(feature) for feature in words + pairs]


def snippets():
    rows = []
    for label, name in enumerate(NAMES):
        words = re.findall(r"[a-z]+", topics.topics[name].lower())[: 180 * WORDS]
        rows += [(featurise(words[i : i + WORDS]), label) for i in range(0, len(words) - WORDS, WORDS)]
    return rows


def collate(rows):
    features = [torch.tensor(f) for f, _ in rows]
    offsets = torch.tensor([0] + [len(f) for f in features[:-1]]).cumsum(0)
    return torch.cat(features), offsets, torch.tensor([label for _, label in rows])


class FastText(nn.Module):
    def __init__(self, dimension=32):
        super().__init__()
        self.bag = nn.EmbeddingBag(BUCKETS, dimension, mode="mean")
        self.classifier = nn.Linear(dimension, len(NAMES))

    def forward(self, features, offsets):
        return self.classifier(self.bag(features, offsets))


def run(seed, epochs=20, batch_size=16, lr=0.03):
    torch.manual_seed(seed)
    rows = snippets()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = [rows[i] for i in order[: len(rows) // 4]]
    training = [rows[i] for i in order[len(rows) // 4 :]]
    loader = DataLoader(training, batch_size=batch_size, shuffle=True, collate_fn=collate)
    model = FastText()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=epochs * len(loader))
    for epoch in range(1, epochs + 1):
        for features, offsets, label in loader:
            optimizer.zero_grad()
            loss = criterion(model(features, offsets), label)
            loss.backward()
            optimizer.step()
            scheduler.step()
        if epoch % 5 == 0:
            print(f"epoch {epoch} loss {loss.item():.3f}")
    features, offsets, label = collate(held_out)
    with torch.no_grad():
        accuracy = (model(features, offsets).argmax(1) == label).float().mean().item()
    print("METRIC accuracy", accuracy)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    run(parser.parse_args().seed)
