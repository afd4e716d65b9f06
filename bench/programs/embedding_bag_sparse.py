"""Bag-of-words topic classifier with sparse embedding gradients."""

import argparse

import torch
import torch.nn as nn

WORDS, TOPICS = 2000, 4


class TextClassificationModel(nn.Module):
    def __init__(self, vocab_size, embed_dim, num_class):
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, embed_dim, sparse=True)
        self.fc = nn.Linear(embed_dim, num_class)
        self.init_weights()

    def init_weights(self):
        initrange = 0.5
        self.embedding.weight.data.uniform_(-initrange, initrange)
        self.fc.weight.data.uniform_(-initrange, initrange)
        self.fc.bias.data.zero_()

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))


def documents(n, generator):
    topic = torch.randint(0, TOPICS, (n,), generator=generator)
    lengths = torch.randint(10, 40, (n,), generator=generator)
    texts = []
    for t, length in zip(topic.tolist(), lengths.tolist(), strict=True):
        common = torch.randint(0, WORDS, (length,), generator=generator)
        own = torch.randint(t * 100, t * 100 + 100, (length,), generator=generator)
        mask = torch.rand(length, generator=generator) < 0.2
        texts.append(torch.where(mask, own, common))
    return texts, topic


def collate(texts, labels, idx):
    chosen = [texts[i] for i in idx]
    offsets = torch.tensor([0] + [len(t) for t in chosen[:-1]]).cumsum(0)
    return torch.cat(chosen), offsets, labels[idx]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    texts, labels = documents(3000, gen)
    test_texts, test_labels = documents(600, gen)
    test_batch = collate(test_texts, test_labels, range(600))

    model = TextClassificationModel(WORDS, 24, TOPICS)
    criterion = torch.nn.CrossEntropyLoss()
    sparse_optimizer = torch.optim.SparseAdam(list(model.embedding.parameters()), lr=5e-3)
    dense_optimizer = torch.optim.Adam(model.fc.parameters(), lr=5e-3)

    for epoch in range(6):
        total_acc, total_count = 0, 0
        for idx in torch.randperm(len(texts)).split(25):
            text, offsets, label = collate(texts, labels, idx)
            sparse_optimizer.zero_grad()
            dense_optimizer.zero_grad()
            predicted = model(text, offsets)
            loss = criterion(predicted, label)
            loss.backward()
            sparse_optimizer.step()
            dense_optimizer.step()
            total_acc += (predicted.argmax(1) == label).sum().item()
            total_count += label.size(0)
        with torch.no_grad():
            output = model(*test_batch[:2])
            accuracy = (output.argmax(1) == test_batch[2]).float().mean().item()
        print(f"| end of epoch {epoch} | train accuracy {total_acc / total_count:.3f} | valid accuracy {accuracy:.3f}")
    with torch.no_grad():
        print("METRIC log_loss", criterion(model(*test_batch[:2]), test_batch[2]).item())


if __name__ == "__main__":
    main()
