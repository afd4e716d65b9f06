"""A training that explodes late, and which warning comes first: the growth through time, or the gradient's norm.

A ReLU recurrence as PyTorch makes it, at a small learning rate, adds up all the marked numbers of a long sequence. Its
gradient vanishes through time at first; while the network learns to carry the sum, the growth rate climbs towards 1,
where the gradient of early steps begins to count, and then everything is over within a few steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from torch import nn

from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Claim, Context, held
from vivavoce.measure.recurrence import predict_growth

LENGTH = 150  # time steps
WIDTH = 64
BATCH = 32
MARKED = 1 / 3  # of the numbers
RATE = 5e-5
GENTLE = 0.1  # of that rate: the control
STEPS = 500
NORM_ALARM = 100.0  # times the median of the norms so far
GROWTH_ALARM = 1.2  # times the median of the rates so far; measured: a control at a tenth of the rate stays within 5 %
LEAST_HISTORY = 20  # steps before either alarm counts


@dataclass
class Story:
    """Growth rate and gradient norm at every step, the alarms, and the end."""

    rates: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    died: int | None = None

    def alarm(self, values: list[float], times: float) -> int | None:
        """The first step at which a value is `times` the median of those before it."""
        for step in range(LEAST_HISTORY, len(values)):
            if not values[step] <= times * median(values[:step]):
                return step
        return None


class Summer(nn.Module):
    """A recurrent layer and a readout of its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.RNN(2, WIDTH, nonlinearity="relu", batch_first=True)
        self.readout = nn.Linear(WIDTH, 1)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Sums (n,) for sequences (n, T, 2)."""
        result: torch.Tensor = self.readout(self.layer(sequences)[0][:, -1])[:, 0]
        return result


def follow(rate: float, seed: int, steps: int) -> Story:
    """Train, and note the growth rate before each step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Summer()
    random = torch.Generator().manual_seed(seed)
    optimizer, story = torch.optim.SGD(model.parameters(), lr=rate), Story()
    for step in range(steps):
        numbers = torch.rand(BATCH, LENGTH, generator=random)
        marks = (torch.rand(BATCH, LENGTH, generator=random) < MARKED).float()
        sequences = torch.stack([numbers, marks], dim=-1)
        loss = nn.functional.mse_loss(model(sequences), (numbers * marks).sum(dim=1))
        if not math.isfinite(loss.item()):
            story.died = step
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        story.norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), math.inf)))
        story.rates.append(_rate(model, sequences))
        optimizer.step()
    return story


def _rate(model: Summer, sequences: torch.Tensor) -> float:
    try:
        return predict_growth(model.layer, sequences).rate
    except ValueError:  # no unit is alive, so there is no gradient to grow
        return 0.0


def warnings(context: Context) -> tuple[list[Claim], list[XYPlot]]:
    """The lead of either alarm in a training that dies, and their silence in one that does not."""
    story = follow(RATE, context.seed, STEPS)
    control = follow(GENTLE * RATE, context.seed, len(story.norms))
    growth, norm = story.alarm(story.rates, GROWTH_ALARM), story.alarm(story.norms, NORM_ALARM)
    silent = control.alarm(control.rates, GROWTH_ALARM) is None
    early, late = (story.died - at if at is not None and story.died else 0 for at in (growth, norm))
    claims = [
        held(
            "the growth through time warns before the gradient's norm does",
            f"{early} steps before the end; the norm {late}",
            "earlier than the norm, and silent in the control",
            bool(story.died and early > late and silent),
            f"Alarms at {GROWTH_ALARM:g} and {NORM_ALARM:g} times their median; the control has a tenth of the learning rate.",
        ),
        held(
            "watching the gradient's norm is enough",
            f"it warns {late} step{'s' * (late != 1)} before the end",
            f"time to act: at least {LEAST_HISTORY} steps",
            late >= LEAST_HISTORY,
            f"The training dies at step {story.died}.",
        ),
    ]
    return claims, [_plot(story, control)]


def _plot(story: Story, control: Story) -> XYPlot:
    rates, gentle = np.array(story.rates), np.array(control.rates)
    at = np.arange(1.0, len(rates) + 1)
    marks = [] if story.died is None else [(float(story.died), "the loss is no longer finite")]
    lines = [Line("learning rate 5e-5", at, rates), Line("a tenth of it", at[: len(gentle)], gentle)]
    note = "Factor a time step backwards. It climbs for dozens of steps before the end."
    return XYPlot("warning", "The growth rate of a training that dies late", note, "training step", "growth a time step", lines, marks=marks)  # fmt: skip
