"""The slope of a discriminator at its inputs: what gradient penalties (R1, R2, WGAN-GP) hold down."""

from __future__ import annotations

from collections.abc import Callable

import torch


def slope_norms(critic: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """‖∂D(x)/∂x‖ of each example, shape (n,), for `critic` that gives each of `inputs` (n, …) a score of its own.

    R1 is the mean square of these over real examples, R2 over made ones (Mescheder et al. 2018); WGAN-GP wants them
    near 1 between both (Gulrajani et al. 2017). The critic's parameters and their gradients are left alone. Raises
    ValueError where there is not one score an example: a normalisation over the batch mixes the examples' slopes.
    """
    x = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        scores = critic(x)
        if scores.numel() != len(x):
            raise ValueError(f"one score for each of {len(x)} examples is expected, got {tuple(scores.shape)}")
        (slopes,) = torch.autograd.grad(scores.sum(), x)
    norms: torch.Tensor = slopes.detach().reshape(len(x), -1).norm(dim=1)
    return norms
