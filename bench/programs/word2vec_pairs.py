"""Skip-gram with negative sampling; words of the same topic should end up near each other."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCAB, TOPICS = 300, 10


class SkipGram(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.u = nn.Embedding(vocab, dim)
        self.v = nn.Embedding(vocab, dim)
        nn.init.uniform_(self.u.weight, -0.5 / dim, 0.5 / dim)
        nn.init.uniform_(self.v.weight, -0.5 / dim, 0.5 / dim)

    def forward(self, centre, context, negatives):
        u = self.u(centre)
        positive = F.logsigmoid((u * self.v(context)).sum(-1))
        negative = F.logsigmoid(-torch.bmm(self.v(negatives), u.unsqueeze(2)).squeeze(2)).sum(-1)
        return -(positive + negative).mean()


def corpus(n_sentences, g):
    """Sentences of twelve words: mostly from one topic, some from anywhere."""
    topic = torch.randint(0, TOPICS, (n_sentences, 1), generator=g)
    own = topic + TOPICS * torch.randint(0, VOCAB // TOPICS, (n_sentences, 12), generator=g)
    common = torch.randint(0, VOCAB, (n_sentences, 12), generator=g)
    return torch.where(torch.rand(n_sentences, 12, generator=g) < 0.7, own, common)


def pairs(sentences, window=2):
    found = []
    for shift in range(1, window + 1):
        left, right = sentences[:, :-shift].flatten(), sentences[:, shift:].flatten()
        found += [torch.stack([left, right], 1), torch.stack([right, left], 1)]
    return torch.cat(found)


def same_topic_neighbours(vectors, k=5):
    vectors = F.normalize(vectors, dim=1)
    similarity = vectors @ vectors.T
    similarity.fill_diagonal_(-2)
    nearest = similarity.topk(k).indices
    return (nearest % TOPICS == torch.arange(VOCAB)[:, None] % TOPICS).float().mean().item()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--lr", type=float, default=0.02)
    p.add_argument("--negatives", type=int, default=5)
    p.add_argument("--epochs", type=int, default=3)
    a = p.parse_args()
    torch.manual_seed(a.seed)
    data = pairs(corpus(1500, torch.Generator().manual_seed(a.seed)))
    model = SkipGram(VOCAB, 20)
    optimizer = torch.optim.Adam(model.parameters(), lr=a.lr)
    for epoch in range(a.epochs):
        total = 0.0
        chunks = data[torch.randperm(len(data))].split(256)
        for chunk in chunks:
            negatives = torch.randint(0, VOCAB, (len(chunk), a.negatives))
            loss = model(chunk[:, 0], chunk[:, 1], negatives)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: {total / len(chunks):.4f}")
    print("METRIC same_topic_neighbours", same_topic_neighbours(model.u.weight.detach()))


if __name__ == "__main__":
    main()
