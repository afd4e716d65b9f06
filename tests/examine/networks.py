"""Small networks and data for tests of detectors; everything is seeded and takes well under a second."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn
from training import Batch, Training

from vivavoce.record.run import Run

torch.set_num_threads(1)
_DIGITS = load_digits()
X = torch.tensor(_DIGITS.data, dtype=torch.float32) / 16
Y = torch.tensor(_DIGITS.target)
VALIDATION = [(X[a : a + 100], Y[a : a + 100]) for a in (1400, 1500, 1600)]


def digits(size: int = 32, scale: float = 1.0, examples: int = 1400) -> Callable[[int], Batch]:
    generator = torch.Generator().manual_seed(0)

    def batch(_: int) -> Batch:
        pick = torch.randint(0, examples, (size,), generator=generator)
        return X[pick] * scale, Y[pick]

    return batch


def adding(length: int = 100, size: int = 32) -> Callable[[int], Batch]:
    """The adding problem (Hochreiter & Schmidhuber 1997): sum the two marked numbers of a sequence."""
    generator = torch.Generator().manual_seed(1)

    def batch(_: int) -> Batch:
        values, marks = torch.rand(size, length, generator=generator), torch.zeros(size, length)
        for low, high in ((0, length // 2), (length // 2, length)):
            marks[range(size), torch.randint(low, high, (size,), generator=generator)] = 1
        return torch.stack([values, marks], 2), (values * marks).sum(1, keepdim=True)

    return batch


def mlp(depth: int = 2, width: int = 64, activation: type[nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(64 if i == 0 else width, width), *([nn.LayerNorm(width)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.RNN, radius: float | None = None, **options: str) -> None:
        super().__init__()
        self.rnn = kind(2, 32, batch_first=True, **options)  # type: ignore[call-arg]
        self.head = nn.Linear(32, 1)
        if radius is not None:
            self.rnn.weight_hh_l0.data = torch.eye(32) * radius

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def sgd(rate: float, **options: float) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **options)  # type: ignore[arg-type]


def adam(rate: float, **options: float) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.Adam(parameters, lr=rate, **options)  # type: ignore[arg-type]


def train(
    make: Callable[[], nn.Module], optimizer: Callable[..., torch.optim.Optimizer], seed: int = 0, **options: object
) -> Run:
    torch.manual_seed(seed)
    model = make()
    options.setdefault("batches", digits())
    return Training(model, optimizer(model.parameters()), **options).run()  # type: ignore[arg-type]
