"""Complex parameters, sparse gradients, float64, empty and zero-dimensional parameters, frozen ones, batches of no rows."""

import warnings

import torch
from fingerprint import show
from torch import nn

warnings.simplefilter("ignore")
torch.manual_seed(0)


class Wave(nn.Module):
    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(9, dtype=torch.cfloat))
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.nothing = nn.Parameter(torch.empty(0))
        self.frozen = nn.Parameter(torch.randn(3), requires_grad=False)
        self.unused = nn.Parameter(torch.randn(3))

    def forward(self, x):
        return self.gain * torch.fft.irfft(torch.fft.rfft(x) * self.filter, n=x.shape[-1])


model = Wave()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(20):
    x = torch.randn(5, 16)
    loss = (model(x) - x.roll(1, -1)).square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
show("complex", model, optimizer)

embedding = nn.EmbeddingBag(30, 4, sparse=True)
sparse = torch.optim.SparseAdam(embedding.parameters(), lr=0.1)
for _ in range(15):
    loss = embedding(torch.randint(0, 30, (4, 5))).square().sum()
    sparse.zero_grad()
    loss.backward()
    sparse.step()
show("sparse", embedding, sparse)

torch.set_default_dtype(torch.float64)
double = nn.Linear(3, 3)
descent = torch.optim.ASGD(double.parameters())
for step in range(10):
    descent.zero_grad()
    double(torch.randn(0 if step == 4 else 4, 3)).pow(2).sum().backward()
    descent.step()
torch.set_default_dtype(torch.float32)
show("double", double, descent)
