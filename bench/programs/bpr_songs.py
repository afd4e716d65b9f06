"""Implicit feedback: Bayesian personalised ranking of songs, with negatives drawn at random."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Listening:
    """Users and songs have hidden tastes; a user plays the songs that fit, popular ones more often."""

    def __init__(self, users, songs, seed):
        rng = np.random.default_rng(seed)
        taste, style = rng.normal(size=(users, 4)), rng.normal(size=(songs, 4))
        score = 1.5 * taste @ style.T + rng.normal(scale=0.7, size=songs)
        noise = rng.gumbel(size=score.shape)
        ranked = np.argsort(-(score + noise), axis=1)
        self.train, self.test = ranked[:, :24], ranked[:, 24:30]
        self.users, self.songs, self.rng = users, songs, rng
        self.heard = np.zeros((users, songs), dtype=bool)
        np.put_along_axis(self.heard, self.train, True, axis=1)

    def triples(self, batch):
        """(user, song that was played, song that was not), for one epoch."""
        user = np.repeat(np.arange(self.users), self.train.shape[1])
        positive = self.train.reshape(-1)
        negative = self.rng.integers(0, self.songs, len(user))
        again = self.heard[user, negative]
        while again.any():
            negative[again] = self.rng.integers(0, self.songs, again.sum())
            again = self.heard[user, negative]
        for rows in np.array_split(self.rng.permutation(len(user)), len(user) // batch):
            yield torch.tensor(user[rows]), torch.tensor(positive[rows]), torch.tensor(negative[rows])


class Factors(nn.Module):
    def __init__(self, users, songs, rank=8):
        super().__init__()
        self.user = nn.Embedding(users, rank)
        self.song = nn.Embedding(songs, rank)
        self.popularity = nn.Embedding(songs, 1)
        nn.init.normal_(self.user.weight, std=0.1)
        nn.init.normal_(self.song.weight, std=0.1)
        nn.init.zeros_(self.popularity.weight)

    def forward(self, user, song):
        return (self.user(user) * self.song(song)).sum(-1) + self.popularity(song).squeeze(-1)


def auc(model, data):
    """How often a held-out song beats one that was never played."""
    with torch.no_grad():
        scores = (model.user.weight @ model.song.weight.T + model.popularity.weight.T).numpy()
    unheard = ~data.heard
    np.put_along_axis(unheard, data.test, False, axis=1)
    wins = [(scores[u, data.test[u]][:, None] > scores[u, unheard[u]][None]).mean() for u in range(data.users)]
    return float(np.mean(wins))


def fit(model, data, optimizer, epochs, batch=128, penalty=2e-3):
    for epoch in range(epochs):
        losses = []
        for user, liked, other in data.triples(batch):
            gap = model(user, liked) - model(user, other)
            ranking = -F.logsigmoid(gap).mean()
            squared = model.user(user).pow(2).sum(1) + model.song(liked).pow(2).sum(1) + model.song(other).pow(2).sum(1)
            loss = ranking + penalty * squared.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(ranking.item())
        if epoch % 5 == 0:
            print(f"epoch {epoch}: ranking loss {np.mean(losses):.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.manual_seed(seed)
    data = Listening(150, 200, seed)
    model = Factors(data.users, data.songs)
    fit(model, data, torch.optim.Adam(model.parameters(), lr=0.02), epochs=20)
    print("METRIC auc", auc(model, data))
