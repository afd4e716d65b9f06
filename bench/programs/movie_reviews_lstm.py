# Sentiment of (made-up) movie reviews with an LSTM
#
# 1. make the reviews   2. build vocabulary + pad   3. model   4. train   5. test

import argparse
import random

import torch
import torch.nn as nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
SEED = parser.parse_args().seed
random.seed(SEED)
torch.manual_seed(SEED)

EMBED_DIM = 24
HIDDEN_DIM = 32
DROPOUT = 0.3
BATCH_SIZE = 40
EPOCHS = 8
LR = 4e-3
N_TRAIN = 1600
P_POSITIVE = 0.5

# ---------------------------------------------------------------- 1. reviews
GOOD = [
    "great",
    "superb",
    "lovely",
    "funny",
    "brilliant",
    "moving",
    "fresh",
    "clever",
    "gripping",
    "warm",
    "charming",
    "stunning",
]
BAD = ["dull", "awful", "boring", "weak", "silly", "flat", "tired", "messy", "shallow", "cold", "clumsy", "lazy"]
FILLER = [
    "the",
    "a",
    "film",
    "movie",
    "plot",
    "actor",
    "scene",
    "it",
    "is",
    "was",
    "and",
    "with",
    "of",
    "this",
    "story",
    "music",
    "ending",
    "very",
    "quite",
    "rather",
    "i",
    "he",
    "she",
]
FILLER += [f"word{i}" for i in range(60)]


def make_review(positive):
    words = []
    for _ in range(random.randint(2, 4)):
        words += random.choices(FILLER, k=random.randint(1, 4))
        says_good = positive if random.random() < 0.9 else not positive
        negated = random.random() < 0.3
        if negated:
            words.append("not")
        words.append(random.choice(GOOD if says_good != negated else BAD))
    return words + random.choices(FILLER, k=random.randint(0, 3))


def make_split(n, p_positive=0.5):
    labels = [int(random.random() < p_positive) for _ in range(n)]
    return [(make_review(bool(label)), label) for label in labels]


train_data = make_split(N_TRAIN, P_POSITIVE)
test_data = make_split(800)

# ---------------------------------------------------------------- 2. vocabulary
PAD, UNK = 0, 1
vocab = {"<pad>": PAD, "<unk>": UNK}
for review, _ in train_data:
    for word in review:
        vocab.setdefault(word, len(vocab))


def collate(batch):
    ids = [torch.tensor([vocab.get(w, UNK) for w in review]) for review, _ in batch]
    labels = torch.tensor([label for _, label in batch], dtype=torch.float32)
    lengths = torch.tensor([len(i) for i in ids])
    return pad_sequence(ids, batch_first=True, padding_value=PAD), lengths, labels


train_loader = DataLoader(train_data, batch_size=BATCH_SIZE, shuffle=True, collate_fn=collate)
test_loader = DataLoader(test_data, batch_size=100, collate_fn=collate)


# ---------------------------------------------------------------- 3. model
class SentimentLSTM(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, EMBED_DIM, padding_idx=PAD)
        self.lstm = nn.LSTM(EMBED_DIM, HIDDEN_DIM, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(2 * HIDDEN_DIM, 1)

    def forward(self, text, lengths):
        embedded = self.dropout(self.embedding(text))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)
        hidden = torch.cat([hidden[-2], hidden[-1]], dim=1)
        return self.fc(self.dropout(hidden)).squeeze(1)


model = SentimentLSTM(len(vocab))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=LR)

# ---------------------------------------------------------------- 4. train
for epoch in range(EPOCHS):
    model.train()
    epoch_loss = 0
    epoch_acc = 0
    for text, lengths, labels in train_loader:
        optimizer.zero_grad()
        predictions = model(text, lengths)
        loss = criterion(predictions, labels)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item()
        epoch_acc += ((predictions > 0) == (labels > 0.5)).float().mean().item()
    print(f"Epoch {epoch + 1}: loss {epoch_loss / len(train_loader):.3f}, acc {epoch_acc / len(train_loader):.3f}")

# ---------------------------------------------------------------- 5. test
model.eval()
test_loss, test_acc = 0, 0
with torch.no_grad():
    for text, lengths, labels in test_loader:
        predictions = model(text, lengths)
        test_loss += criterion(predictions, labels).item()
        test_acc += ((predictions > 0) == (labels > 0.5)).float().mean().item()
print(f"Test accuracy {test_acc / len(test_loader):.3f}")
print("METRIC test_loss", test_loss / len(test_loader))
