"""A small network for tables: several targets, gaps among them, and rules as a penalty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from vivavoce.labs.figures import Floats
from vivavoce.labs.threads import one_thread
from vivavoce.measure.rules import Rule, rule_penalty

HIDDEN = 32
LEARNING_RATE = 0.01
DECAY = 0.1
STEPS = 200


class Network(nn.Module):
    """Two hidden layers; its outputs come in the units of the targets, of mean and deviation (k,)."""

    def __init__(self, features: int, mean: Floats, deviation: Floats) -> None:
        super().__init__()
        self.mean, self.deviation = (torch.tensor(part, dtype=torch.float32) for part in (mean, deviation))
        self.layers = nn.Sequential(
            nn.Linear(features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, len(mean))
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs (n, features) to predictions (n, k)."""
        found: torch.Tensor = self.mean + self.deviation * self.layers(inputs)
        return found


@one_thread()
def fit(
    inputs: Floats, targets: Floats, seed: int, rules: Sequence[Rule] = (), weight: float = 1.0, steps: int = STEPS
) -> Network:
    """Fit targets (n, k), NaN where unknown, from inputs (n, d); rules speak of the predictions (n, k) in C order.

    The squared error counts in the targets' standard deviations, the penalty in their mean one, times `weight`.
    """
    known = np.isfinite(targets)
    mean = np.array([column[mask].mean() for column, mask in zip(targets.T, known.T, strict=True)])
    deviation = np.array([column[mask].std() or 1.0 for column, mask in zip(targets.T, known.T, strict=True)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Network(inputs.shape[1], mean, deviation)
    rows = known.any(axis=1) if not rules else np.ones(len(known), bool)
    x, wanted, mask = (
        torch.tensor(part[rows], dtype=torch.float32) for part in (inputs, np.nan_to_num(targets), known)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    for _ in range(steps):
        optimizer.zero_grad()
        found = model(x)
        loss = (((found - wanted) / model.deviation).square() * mask).sum() / mask.sum()
        if rules:
            loss = loss + weight * rule_penalty(rules, found) / float(deviation.mean())
        loss.backward()
        optimizer.step()
    return model


@one_thread()
def outputs(model: Network, inputs: Floats) -> Floats:
    """Predictions (n, k) in float64."""
    with torch.no_grad():
        found = model(torch.tensor(inputs, dtype=torch.float32))
    return np.asarray(found.double().numpy())
