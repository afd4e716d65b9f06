"""The adding problem on a recurrent network whose gradient provably grows, and the remedies tried on it.

A sequence of T numbers in [0, 1), two of them marked; the target is the sum of the marked two (Hochreiter & Schmidhuber
1997). Saying 1 for every sequence leaves a mean squared error of 1/6. The network is a ReLU recurrence with W = ρI and
inputs that enter with positive weights, so that every unit stays positive and the Jacobian of each step is exactly ρI.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LENGTH = 100  # time steps
SHORT = 20
WIDTH = 32
BATCH = 32
SMALL_BATCH = 4
RHO = 1.1
TRUNCATED = 10  # time steps that truncated backpropagation goes back
CLIP = 1.0  # largest norm of the gradient
SGD_RATE = 0.01
ADAM_RATE = 3e-3
LSTM_RATE = 0.02
L2 = 1e-2
L1 = 1e-3
CONSTANT_ERROR = 1 / 6  # variance of the sum of two uniform numbers: what the best constant leaves
LEARNS = 0.5  # of the constant's error; a network that has learned nothing stays at 1
DEAD = 1e6  # times the first loss: numbers that are still finite, and good for nothing
LAST_LOSSES = 50  # steps whose mean is the final loss


@dataclass(frozen=True)
class Recipe:
    """A way to train on the adding problem."""

    name: str
    cell: str = "relu"
    rho: float = RHO
    length: int = LENGTH
    batch: int = BATCH
    back: int | None = None  # time steps that the gradient goes back; None for all
    clip: float | None = None
    adam: bool = False
    rate: float = SGD_RATE
    l1: float = 0.0
    l2: float = 0.0


BASELINE = Recipe("nothing")
ALONE = (
    Recipe("fewer layers (T = 20)", length=SHORT),
    Recipe("smaller batch (4)", batch=SMALL_BATCH),
    Recipe("truncated backpropagation (10)", back=TRUNCATED),
    Recipe("ReLU"),  # the network has it already
    Recipe("LSTM", cell="lstm"),
    Recipe("clipping (norm 1)", clip=CLIP),
    Recipe("L1", l1=L1),
    Recipe("L2", l2=L2),
)
TOGETHER = (
    Recipe("tanh instead of ReLU", cell="tanh"),
    Recipe("clipping + Adam", clip=CLIP, adam=True, rate=ADAM_RATE),
    Recipe("W → I, clipping + Adam", rho=1.0, clip=CLIP, adam=True, rate=ADAM_RATE),
    Recipe("LSTM, clipping + Adam", cell="lstm", clip=CLIP, adam=True, rate=LSTM_RATE),
)


@dataclass(frozen=True)
class Fate:
    """What became of a training: the step at which the loss was lost, None where it survived; its final loss."""

    died: int | None
    final: float
    losses: tuple[float, ...]

    @property
    def survives(self) -> bool:
        """Whether the loss stayed finite and in proportion."""
        return self.died is None

    @property
    def learns(self) -> bool:
        """Whether the final loss is far below what a constant leaves."""
        return self.survives and self.final < LEARNS * CONSTANT_ERROR


class Adder(nn.Module):
    """A recurrent layer and a readout of its last state."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.back = recipe.back
        self.layer: nn.RNNBase
        if recipe.cell == "lstm":
            self.layer = nn.LSTM(2, WIDTH, batch_first=True)
            _remember(self.layer, recipe.length)
        else:
            self.layer = nn.RNN(2, WIDTH, nonlinearity=recipe.cell, batch_first=True)
            _scaled_identity(self.layer, recipe.rho)
        self.readout = nn.Linear(WIDTH, 1)

    def forward(self, sequences: Tensor) -> Tensor:
        """Sums (n,) for sequences (n, T, 2)."""
        state = None
        if self.back is not None and self.back < sequences.shape[1]:
            with torch.no_grad():
                _, state = self.layer(sequences[:, : -self.back])
            sequences = sequences[:, -self.back :]
        states, _ = self.layer(sequences, state)
        result: Tensor = self.readout(states[:, -1])[:, 0]
        return result


def _scaled_identity(layer: nn.RNNBase, rho: float) -> None:
    with torch.no_grad():
        layer.get_parameter("weight_hh_l0").copy_(rho * torch.eye(WIDTH))
        layer.get_parameter("weight_ih_l0").abs_()
        layer.get_parameter("bias_ih_l0").zero_()
        layer.get_parameter("bias_hh_l0").zero_()


def _remember(layer: nn.RNNBase, length: int) -> None:
    """Gates whose memory spans the sequence: forget bias ln u with u uniform in [1, T − 1] (Tallec & Ollivier 2018)."""
    span = torch.log(torch.rand(WIDTH) * (length - 2) + 1)
    with torch.no_grad():
        layer.get_parameter("bias_ih_l0").zero_()
        bias = layer.get_parameter("bias_hh_l0").zero_()
        bias[:WIDTH], bias[WIDTH : 2 * WIDTH] = -span, span


def make_batches(recipe: Recipe, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Sequences (n, T, 2) and their sums (n,), for ever."""
    random = torch.Generator().manual_seed(seed)
    while True:
        numbers = torch.rand(recipe.batch, recipe.length, generator=random)
        places = torch.rand(recipe.batch, recipe.length, generator=random).topk(2, dim=1).indices
        marks = torch.zeros_like(numbers).scatter_(1, places, 1.0)
        yield torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(dim=1)


def make(recipe: Recipe, seed: int) -> Adder:
    """The network of a recipe, without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Adder(recipe)


def train(recipe: Recipe, seed: int, steps: int) -> Fate:
    """Train for `steps` steps, or until the loss is not finite or out of all proportion to the first."""
    model = make(recipe, seed)
    parameters = list(model.parameters())
    optimizer: torch.optim.Optimizer
    optimizer = torch.optim.Adam(parameters, recipe.rate) if recipe.adam else torch.optim.SGD(parameters, recipe.rate)
    losses: list[float] = []
    batches = make_batches(recipe, seed)
    for step in range(steps):
        sequences, sums = next(batches)
        loss = nn.functional.mse_loss(model(sequences), sums)
        value = loss.item()
        if not math.isfinite(value) or (losses and value > DEAD * losses[0]):
            return Fate(step, math.inf, tuple(losses))
        losses.append(value)
        optimizer.zero_grad()
        torch.autograd.backward(loss + _penalty(recipe, parameters))
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
    last = losses[-LAST_LOSSES:]
    return Fate(None, sum(last) / len(last), tuple(losses))


def _penalty(recipe: Recipe, parameters: list[nn.Parameter]) -> Tensor:
    penalty = torch.zeros(())
    if recipe.l1:
        penalty = penalty + recipe.l1 * torch.stack([p.abs().sum() for p in parameters]).sum()
    if recipe.l2:
        penalty = penalty + recipe.l2 / 2 * torch.stack([p.square().sum() for p in parameters]).sum()
    return penalty
