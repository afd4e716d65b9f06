"""Differentiates a batch in chunks, so that one ordinary training run also tells its gradient noise scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vivavoce.measure.gradient_noise import NoiseScale

EVERY = 16  # steps from one that is differentiated in chunks to the next: chunks cost about 10 % of a step
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
    mean, losses, squares = _in_chunks(loss, batch, chosen, chunks)
    squares.append(_square(mean))
    _hand_over(chosen, mean)
    numbers = torch.stack(squares).tolist()
    scale.update(numbers[:-1], numbers[-1], len(batch[0]))
    return losses


class SpacedChunks:
    """Differentiates one step of `every` in chunks and the others as usual, so that the noise scale costs next to nothing.

    Between them the gradients are summed up; their product with the next step's in chunks is an estimate of ‖G‖² with
    little noise, which makes up for the fewer steps. Call `backward` in the place of the loss's own.
    """

    def __init__(
        self, parameters: Iterable[Tensor], scale: NoiseScale, *, every: int = EVERY, chunks: int = CHUNKS
    ) -> None:
        if every < 2:
            raise ValueError(f"every must be 2 or more steps, not {every}; `backward_in_chunks` takes every step")
        self._chosen = [parameter for parameter in parameters if parameter.requires_grad]
        self._scale, self._every, self._chunks = scale, every, chunks
        self._sum: list[Tensor] = []
        self._summed = self._step = 0

    def backward(self, loss: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """What `loss(*batch).backward()` does for a mean loss; the mean loss, detached. Raises ValueError as above."""
        self._step += 1
        if self._step % self._every:
            value = loss(*batch)
            gradients = list(torch.autograd.grad(value, self._chosen, materialize_grads=True))
            self._keep(gradients)
            _hand_over(self._chosen, gradients)
            return value.detach()
        mean, value, squares = _in_chunks(loss, batch, self._chosen, self._chunks)
        squares += [_square(mean), _product(mean, self._sum) / max(1, self._summed)]
        _hand_over(self._chosen, mean)
        numbers = torch.stack(squares).tolist()
        self._scale.update(numbers[:-2], numbers[-2], len(batch[0]), numbers[-1])
        self._sum, self._summed = [], 0
        return value

    def _keep(self, gradients: list[Tensor]) -> None:
        self._summed += 1
        if self._sum:
            torch._foreach_add_(self._sum, gradients)
        else:
            self._sum = [gradient.clone() for gradient in gradients]


def _in_chunks(
    loss: Callable[..., Tensor], batch: tuple[Tensor, ...], chosen: list[Tensor], chunks: int
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """The mean gradient, the mean loss, and the square of each chunk's gradient."""
    examples = len(batch[0])
    if examples % chunks:
        raise ValueError(f"a batch of {examples} does not fall into {chunks} equal chunks")
    total: list[Tensor] = []
    losses, squares = [], []
    for part in zip(*(tensor.chunk(chunks) for tensor in batch), strict=True):
        value = loss(*part)
        gradients = list(torch.autograd.grad(value, chosen, materialize_grads=True))
        losses.append(value.detach())
        squares.append(_square(gradients))
        if total:
            torch._foreach_add_(total, gradients)
        else:
            total = gradients
    torch._foreach_div_(total, chunks)
    return total, torch.stack(losses).mean(), squares


def _hand_over(chosen: list[Tensor], gradients: list[Tensor]) -> None:
    for parameter, gradient in zip(chosen, gradients, strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def _product(first: list[Tensor], second: list[Tensor]) -> Tensor:
    return torch.stack([torch.sum(a * b, dtype=torch.float64) for a, b in zip(first, second, strict=True)]).sum()


def _square(tensors: list[Tensor]) -> Tensor:
    return torch.stack(list(torch._foreach_norm(tensors))).double().square().sum()
