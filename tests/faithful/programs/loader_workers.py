import random

import numpy as np
import torch
from fingerprint import show
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, WeightedRandomSampler


class Noisy(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.randn(4) + np.random.rand() + random.random(), index % 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.randn(10, 4))


if __name__ == "__main__":
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = Noisy()
    loaders = [
        DataLoader(data, batch_size=5, shuffle=True, num_workers=2, persistent_workers=True),
        DataLoader(data, batch_size=6, sampler=WeightedRandomSampler([1.0] * 24, 12)),
        DataLoader(data, batch_sampler=[[0, 1], [2, 3, 4]]),
        DataLoader(data, batch_size=4, sampler=RandomSampler(data, generator=torch.Generator().manual_seed(5))),
    ]
    seen = []
    for _ in range(2):
        for loader in loaders:
            for x, y in loader:
                seen.append(x)
                loss = nn.functional.cross_entropy(model(x.float()), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    stream = [next(iter(DataLoader(Stream(), batch_size=3))), *DataLoader(Stream(), batch_size=None)]
    show("loader_workers", model, optimizer, seen, stream, len(loaders[0]))
