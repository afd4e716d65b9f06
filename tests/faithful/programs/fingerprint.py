"""One line of output that changes if a single bit of a training run's outcome does."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

random.seed(0)
np.random.seed(0)


def show(name: str, *things: Any) -> None:
    """Print the name and a digest of models, optimizers, tensors and of every random generator's state."""
    digest = hashlib.sha256()
    for piece in _pieces(list(things)):
        digest.update(piece)
    generators = (torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), repr(random.getstate()))
    for state in generators:
        digest.update(state if isinstance(state, bytes) else state.encode())
    print(name, digest.hexdigest(), _global_state(), flush=True)


def _global_state() -> str:
    flags = (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_anomaly_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
    )
    return ",".join(map(str, flags))


def _pieces(thing: Any) -> Iterable[bytes]:
    if isinstance(thing, torch.nn.Module):
        yield from _pieces(dict(thing.state_dict()))
        yield from _pieces([(p.requires_grad, p.grad) for p in thing.parameters()])
    elif isinstance(thing, torch.optim.Optimizer):
        yield from _pieces(thing.state_dict())
    elif isinstance(thing, torch.Tensor):
        yield from _tensor(thing.detach())
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield repr(key).encode()
            yield from _pieces(value)
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from _pieces(item)
    else:
        yield repr(thing).encode()


def _tensor(tensor: torch.Tensor) -> Iterable[bytes]:
    yield f"{tuple(tensor.shape)} {tensor.dtype} {tensor.layout}".encode()
    if tensor.is_sparse:
        tensor = tensor.coalesce()
        yield from _tensor(tensor.indices())
        tensor = tensor.values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    yield tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
