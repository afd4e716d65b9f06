"""What is said of GANs, held against what can be computed."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Claim, Context, held

SHIFTS = (0.5, 1.0, 2.0, 4.0, 6.0)  # between two Gaussians of deviation 1, one real, one made
EXAMPLES = (20_000, 5_000)  # on either side: full, quick
STEPS = 20  # of Newton's method, which at the end doubles the digits at each
TINY = 1e-9  # length of a step that changes nothing any more
GONE = 0.05  # of the slope at one deviation: what is left of it where the critic wins
DIVERGENCE_BAR = 0.02  # nats
GRID = np.linspace(-12.0, 18.0, 60_001)  # for the integral: beyond, both densities are below 1e-31


def divergence_claims(context: Context) -> tuple[list[Claim], XYPlot]:
    """An optimal critic's loss is 2 log 2 − 2 JSD; and where it wins, one cost of G has a slope left and the other none."""
    measured, true, gone, kept = [], [], [], []
    for index, shift in enumerate(SHIFTS):
        weight, bias = _best_critic(shift, context, index)
        real, made = (_draw(centre, context, 100 + 2 * index + side) for side, centre in enumerate((shift, 0.0)))
        loss = F.softplus(-(weight * real + bias)).mean() + F.softplus(weight * made + bias).mean()
        measured.append(math.log(2) - 0.5 * float(loss))
        true.append(jensen_shannon(shift))
        score = weight * made + bias
        gone.append(float((weight * torch.sigmoid(score)).abs().mean()))  # |∂ log(1 − σ(D))/∂x|
        kept.append(float((weight * torch.sigmoid(-score)).abs().mean()))  # |∂ −log σ(D)/∂x|
    worst = max(abs(a - b) for a, b in zip(measured, true, strict=True))
    claims = [
        held(
            "the cost of the best critic tells how far made lies from real (Jensen–Shannon)",
            f"off by at most {worst:.4f} nats at {len(SHIFTS)} distances",
            f"log 2 − cost / 2, within {DIVERGENCE_BAR:g} nats of the integral",
            worst < DIVERGENCE_BAR,
            "Two Gaussians, the critic trained to its optimum on other examples.",
        ),
        held(
            "where the critic wins, the minimax cost teaches the generator nothing",
            f"slope {gone[-1]:.1e} at {SHIFTS[-1]:g} deviations, {gone[1]:.2g} at {SHIFTS[1]:g}",
            "nearly nought far away, large nearby",
            gone[-1] < GONE * gone[1],
            "The slope of log(1 − σ(D)) at what is made: it is multiplied by σ(D), which a sure critic makes nought.",
        ),
        held(
            "the non-saturating cost has its largest slope just there",
            f"slope {kept[-1]:.2g} at {SHIFTS[-1]:g} deviations, {kept[1]:.2g} at {SHIFTS[1]:g}",
            "larger far away than nearby",
            kept[-1] > kept[1],
        ),
    ]
    x = np.array(SHIFTS)
    lines = [Line("measured by a critic", x, np.array(measured), dots=True), Line("integral", x, np.array(true))]
    note = "log 2 − half of the best critic's cost, beside the Jensen–Shannon divergence of the two densities."
    plot = XYPlot("divergence", "What a critic's cost measures", note, "distance (deviations)", "nats", lines)
    return claims, plot


def _draw(centre: float, context: Context, stream: int) -> torch.Tensor:
    rows = context.rng(stream).standard_normal(EXAMPLES[context.quick]) + centre
    return torch.from_numpy(rows)


def _best_critic(shift: float, context: Context, index: int) -> tuple[float, float]:
    """Logistic regression of real against made; for two Gaussians of one deviation the optimal critic is linear."""
    x = torch.cat([_draw(shift, context, 2 * index), _draw(0.0, context, 2 * index + 1)])
    y = torch.zeros_like(x)
    y[: len(x) // 2] = 1
    rows, place = torch.stack([x, torch.ones_like(x)], 1), torch.zeros(2, dtype=x.dtype)
    cost = F.binary_cross_entropy_with_logits(rows @ place, y)
    for _ in range(STEPS):
        chance = torch.sigmoid(rows @ place)
        slope = rows.T @ (chance - y) / len(x)
        step = torch.linalg.solve(rows.T @ (rows * (chance * (1 - chance))[:, None]) / len(x), slope)
        while (tried := F.binary_cross_entropy_with_logits(rows @ (place - step), y)) > cost and step.norm() > TINY:
            step = step / 2
        place, cost = place - step, tried
    return place[0].item(), place[1].item()


def jensen_shannon(shift: float) -> float:
    """The Jensen–Shannon divergence of N(shift, 1) and N(0, 1), in nats, by the trapezoidal rule."""
    p, q = (np.exp(-0.5 * (GRID - centre) ** 2) / math.sqrt(2 * math.pi) for centre in (shift, 0.0))
    middle = 0.5 * (p + q)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(density > 0, density * np.log(density / middle), 0.0) for density in (p, q)]
    return float(0.5 * np.trapezoid(parts[0] + parts[1], GRID))
