"""Hessian-vector products of a loss by double differentiation, and its sharpness. On the tensors' device."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vivavoce.measure.curvature import MOST_PRODUCTS, TOLERANCE, Extremes, extreme_eigenvalues

Floats = NDArray[np.float64]


def hessian_product(loss: Tensor, parameters: Iterable[Tensor]) -> tuple[Callable[[Floats], Floats], int]:
    """The product v ↦ Hv of the loss's Hessian with a vector over all parameters, and the vector's size.

    Pearlmutter (1994): the gradient of gᵀv. `loss` is a scalar with a graph; nothing is written to `.grad`. Raises
    ValueError where no parameter requires a gradient.
    """
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    if not chosen:
        raise ValueError("no parameter requires a gradient")
    gradients = torch.autograd.grad(loss, chosen, create_graph=True, materialize_grads=True)
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    sizes = [parameter.numel() for parameter in chosen]

    def product(vector: Floats) -> Floats:
        direction = torch.as_tensor(vector, dtype=flat.dtype, device=flat.device)
        if not flat.requires_grad:  # a loss linear in the parameters does not curve
            return np.zeros(sum(sizes))
        parts = torch.autograd.grad(flat, chosen, direction, retain_graph=True, materialize_grads=True)
        joined = torch.cat([part.reshape(-1) for part in parts])
        return joined.detach().double().cpu().numpy()

    return product, sum(sizes)


def sharpness(
    loss: Tensor,
    parameters: Iterable[Tensor],
    *,
    tolerance: float = TOLERANCE,
    most_products: int = MOST_PRODUCTS,
    seed: int = 0,
) -> Extremes:
    """The extreme eigenvalues of the loss's Hessian; a learning rate above 2/λmax makes plain descent diverge."""
    product, size = hessian_product(loss, parameters)
    return extreme_eigenvalues(product, size, tolerance=tolerance, most_products=most_products, seed=seed)
