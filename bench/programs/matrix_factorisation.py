"""Ratings from user and item factors with biases."""

import argparse

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

USERS, ITEMS, RANK = 300, 200, 4


class MatrixFactorization(nn.Module):
    def __init__(self, n_users, n_items, n_factors=6):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, n_factors)
        self.item_factors = nn.Embedding(n_items, n_factors)
        self.user_biases = nn.Embedding(n_users, 1)
        self.item_biases = nn.Embedding(n_items, 1)
        for factors in (self.user_factors, self.item_factors):
            nn.init.normal_(factors.weight, std=0.3)
        for biases in (self.user_biases, self.item_biases):
            nn.init.zeros_(biases.weight)

    def forward(self, user, item):
        pred = self.user_biases(user) + self.item_biases(item)
        pred += (self.user_factors(user) * self.item_factors(item)).sum(dim=1, keepdim=True)
        return pred.squeeze()


def ratings(n):
    taste, quality = torch.randn(USERS, RANK), torch.randn(ITEMS, RANK)
    user, item = torch.randint(0, USERS, (n,)), torch.randint(0, ITEMS, (n,))
    rating = (taste[user] * quality[item]).sum(1) / RANK**0.5 + 0.3 * torch.randn(n)
    return user, item, rating


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    user, item, rating = ratings(14000)
    train = TensorDataset(user[:11000], item[:11000], rating[:11000])
    model = MatrixFactorization(USERS, ITEMS)
    loss_func = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-5)
    for epoch in range(12):
        for u, i, r in DataLoader(train, batch_size=256, shuffle=True):
            optimizer.zero_grad()
            prediction = model(u, i)
            loss = loss_func(prediction, r)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            test_mse = loss_func(model(user[11000:], item[11000:]), rating[11000:]).item()
        print(f"epoch {epoch + 1}: train {loss.item():.3f} test {test_mse:.3f}")
    print("METRIC mse", test_mse)


if __name__ == "__main__":
    main()
