"""Differentiates a batch in chunks, so that one ordinary training run also tells its gradient noise scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vivavoce.measure.gradient_noise import NoiseScale

CHUNKS = 4  # with c chunks the variance is c/(c − 1) of the least possible: 4 leave a third, 8 a seventh


def backward_in_chunks(
    loss: Callable[..., Tensor],
    batch: tuple[Tensor, ...],
    parameters: Iterable[Tensor],
    scale: NoiseScale,
    *,
    chunks: int = CHUNKS,
) -> Tensor:
    """What `loss(*batch).backward()` does for a mean loss, in chunks whose gradient norms go into `scale`.

    `batch` holds tensors of shape (n, …); n must be a multiple of `chunks`, else ValueError. Adds to `.grad` as backward
    does, and returns the mean loss, detached. The norms are read at the end, at once: one wait for the device a step.
    """
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    examples = len(batch[0])
    if examples % chunks:
        raise ValueError(f"a batch of {examples} does not fall into {chunks} equal chunks")
    parts = zip(*(tensor.chunk(chunks) for tensor in batch), strict=True)
    total: list[Tensor] = []
    losses, squares = [], []
    for part in parts:
        value = loss(*part)
        gradients = list(torch.autograd.grad(value, chosen, materialize_grads=True))
        losses.append(value.detach())
        squares.append(_square(gradients))
        if total:
            torch._foreach_add_(total, gradients)
        else:
            total = gradients
    torch._foreach_div_(total, chunks)
    squares.append(_square(total))
    for parameter, gradient in zip(chosen, total, strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    numbers = torch.stack(squares).tolist()
    scale.update(numbers[:-1], numbers[-1], examples)
    return torch.stack(losses).mean()


def _square(tensors: list[Tensor]) -> Tensor:
    return torch.stack(list(torch._foreach_norm(tensors))).double().square().sum()
