"""
Movie recommender with two towers
=================================

Users and movies have an id and some attributes (age group, job / genre, decade). Each tower maps them to a vector, and
the rating is predicted from the dot product of both vectors plus biases.
"""

import argparse

import numpy as np
import torch
import torch.nn as nn

N_USERS, N_MOVIES = 250, 180
N_JOBS, N_GENRES = 8, 10

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()


def make_ratings(n, seed):
    """user, movie, rating (1 to 5)"""
    rng = np.random.default_rng(seed)
    world = np.random.default_rng(42)
    job, genre = world.integers(0, N_JOBS, N_USERS), world.integers(0, N_GENRES, N_MOVIES)
    taste = world.normal(size=(N_JOBS, 4))[job] + 0.6 * world.normal(size=(N_USERS, 4))
    style = world.normal(size=(N_GENRES, 4))[genre] + 0.6 * world.normal(size=(N_MOVIES, 4))
    kindness, quality = 0.4 * world.normal(size=N_USERS), 0.4 * world.normal(size=N_MOVIES)
    user, movie = rng.integers(0, N_USERS, n), rng.integers(0, N_MOVIES, n)
    score = 3.3 + kindness[user] + quality[movie] + 0.45 * (taste[user] * style[movie]).sum(1)
    rating = (score + 0.3 * rng.normal(size=n)).round().clip(1, 5)
    return job, genre, user, movie, rating


class Tower(nn.Module):
    def __init__(self, n_ids, n_groups, dim, hidden):
        super().__init__()
        self.id_embedding = nn.Embedding(n_ids, dim)
        self.group_embedding = nn.Embedding(n_groups, dim)
        nn.init.normal_(self.id_embedding.weight, std=0.1)
        nn.init.normal_(self.group_embedding.weight, std=0.5)
        self.mlp = nn.Sequential(nn.Linear(2 * dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, ids, groups):
        e = torch.cat([self.id_embedding(ids), self.group_embedding(groups)], dim=1)
        return self.mlp(e) + self.id_embedding(ids)


class TwoTower(nn.Module):
    def __init__(self, dim=8, hidden=32):
        super().__init__()
        self.user_tower = Tower(N_USERS, N_JOBS, dim, hidden)
        self.movie_tower = Tower(N_MOVIES, N_GENRES, dim, hidden)
        self.user_bias = nn.Embedding(N_USERS, 1)
        self.movie_bias = nn.Embedding(N_MOVIES, 1)
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.movie_bias.weight)
        self.mean = nn.Parameter(torch.tensor(3.0))

    def forward(self, user, job, movie, genre):
        u = self.user_tower(user, job)
        m = self.movie_tower(movie, genre)
        bias = self.user_bias(user) + self.movie_bias(movie)
        return (u * m).sum(dim=1) + bias.squeeze(1) + self.mean


torch.manual_seed(args.seed)
job, genre, user, movie, rating = make_ratings(16000, args.seed)
job, genre = torch.tensor(job), torch.tensor(genre)
user, movie = torch.tensor(user), torch.tensor(movie)
rating = torch.tensor(rating, dtype=torch.float32)

n_train, n_val = 12000, 2000
batch_size = 200
epochs = 14

train_user, train_movie, train_rating = user[:n_train], movie[:n_train], rating[:n_train]
val_user, val_movie, val_rating = (t[n_train : n_train + n_val] for t in (user, movie, rating))
test_user, test_movie, test_rating = (t[n_train + n_val :] for t in (user, movie, rating))

model = TwoTower()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.85)
loss_fn = nn.MSELoss()

history = {"train": [], "val": []}
for epoch in range(epochs):
    model.train()
    batch_losses = []
    for rows in torch.randperm(n_train).split(batch_size):
        u, m, r = train_user[rows], train_movie[rows], train_rating[rows]
        optimizer.zero_grad()
        prediction = model(u, job[u], m, genre[m])
        loss = loss_fn(prediction, r)
        loss.backward()
        optimizer.step()
        batch_losses.append(loss.item())
    scheduler.step()

    model.eval()
    with torch.no_grad():
        val_loss = loss_fn(model(val_user, job[val_user], val_movie, genre[val_movie]), val_rating).item()
    history["train"].append(sum(batch_losses) / len(batch_losses))
    history["val"].append(val_loss)
    print(f"Epoch {epoch + 1:2d}: train MSE {history['train'][-1]:.3f}, val MSE {val_loss:.3f}")

model.eval()
with torch.no_grad():
    prediction = model(test_user, job[test_user], test_movie, genre[test_movie]).clamp(1, 5)
rmse = (prediction - test_rating).pow(2).mean().sqrt().item()
print("METRIC test_rmse", rmse)
