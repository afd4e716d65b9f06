"""What generator and critic are paid for: the losses of the lab, and the recipes that use them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]  # of the scores of real and made examples, (n,) each


@dataclass(frozen=True)
class Recipe:
    """A loss for each player, and how they are trained.

    `cost` is the generator's, as people write it. `penalty` is what the critic's slopes should be: 0 (R1 and R2), 1 (WGAN-GP,
    between real and made) or None; its weight goes from `gamma` first to last, in even factors. With `falling` the
    learning rate of the second half follows half a cosine to nought.
    """

    name: str
    critic: Loss
    generator: Loss
    cost: str
    source: str
    penalty: float | None = None
    gamma: tuple[float, float] = (0.0, 0.0)
    betas: tuple[float, float] = (0.5, 0.999)
    rate: float = 1e-3
    falling: bool = False
    critic_steps: int = 1
    lead: float = 1.0  # learning rate of the generator over that of the critic

    def weight(self, done: float) -> float:
        """The weight of the penalty when a share `done` of the training is over."""
        first, last = self.gamma
        return first * (last / first) ** done if first else 0.0

    def pace(self, done: float) -> float:
        """The learning rate over that of the beginning."""
        return 0.5 * (1 + math.cos(math.pi * (2 * done - 1))) if self.falling and done > 0.5 else 1.0


def _entropy(real: Tensor, made: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(made).mean()


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "relativistic",
            lambda real, made: F.softplus(made - real).mean(),
            lambda real, made: F.softplus(real - made).mean(),
            "mean log(1 + exp(D(x) − D(G(z)))): low where made examples score higher than real ones",
            "relativistic pairing loss with R1 and R2 (R3GAN, Huang et al. 2024)",
            penalty=0.0,
            gamma=(2.0, 0.02),
            betas=(0.0, 0.99),
            falling=True,
        ),
        Recipe(
            "vanilla",
            _entropy,
            lambda real, made: F.softplus(-made).mean(),
            "mean −log σ(D(G(z))): low where D takes made examples for real",
            "non-saturating loss (Goodfellow et al. 2014, section 3)",
        ),
        Recipe(
            "minimax",
            _entropy,
            lambda real, made: -F.softplus(made).mean(),
            "mean log(1 − σ(D(G(z)))): D's own cost, with the opposite sign",
            "the game as it was first written (Goodfellow et al. 2014, eq. 1)",
        ),
        Recipe(
            "least-squares",
            lambda real, made: 0.5 * ((real - 1).square().mean() + made.square().mean()),
            lambda real, made: 0.5 * (made - 1).square().mean(),
            "mean (D(G(z)) − 1)² / 2: low where D gives made examples the score of real ones",
            "LSGAN (Mao et al. 2017)",
        ),
        Recipe(
            "hinge",
            lambda real, made: F.relu(1 - real).mean() + F.relu(1 + made).mean(),
            lambda real, made: -made.mean(),
            "−mean D(G(z)): low where D scores made examples high",
            "hinge loss (Lim & Ye 2017)",
        ),
        Recipe(
            "wasserstein",
            lambda real, made: made.mean() - real.mean(),
            lambda real, made: -made.mean(),
            "−mean D(G(z)), where D's slope is held near 1: the distance that made examples have to go",
            "WGAN-GP (Gulrajani et al. 2017)",
            penalty=1.0,
            gamma=(10.0, 10.0),
            betas=(0.0, 0.9),
            rate=2e-4,
            critic_steps=5,
        ),
    )
}


def slope_penalty(slopes: Tensor, wanted: float) -> Tensor:
    """Mean squared deviation of ‖∂D/∂x‖ (n, …) from what is wanted; with 0 half of the mean square (Mescheder et al. 2018)."""
    flat = slopes.flatten(1)
    if not wanted:
        return 0.5 * flat.square().sum(1).mean()
    deviation: Tensor = torch.linalg.vector_norm(flat, dim=1) - wanted
    return deviation.square().mean()
