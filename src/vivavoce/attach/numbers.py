"""Small numerics on the user's tensors: read only, outside autograd, without waiting for the device."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SAMPLE = 16_384  # elements of a large weight that a deep sample looks at
ACTIVATION_SAMPLE = 4_096  # elements of a large activation, prediction or input
_HALF = (torch.float16, torch.bfloat16)
_functorch_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_tracing_state = torch._C._get_tracing_state
PLAIN = (Tensor, torch.nn.Parameter)
_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def plain(tensor: Tensor) -> Tensor:
    """The dense real tensor behind a gradient or weight: values of a sparse one, the local shard of a distributed one."""
    if tensor.layout is not torch.strided:
        tensor = _values(tensor.detach())
    if type(tensor) not in PLAIN:
        tensor = getattr(tensor, "_local_tensor", tensor)
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.detach() if tensor.requires_grad else tensor


def _values(tensor: Tensor) -> Tensor:
    """The values of a sparse tensor, each entry once: an embedding's gradient holds a row for every use of it."""
    if tensor.layout is torch.sparse_coo:
        return tensor.coalesce().values()
    return tensor.values() if tensor.layout in _COMPRESSED else tensor.to_dense()


def readable(tensor: Tensor) -> bool:
    """False for tensors without data: on the meta device, or fake ones that stand for tensors of a real device."""
    return not tensor.is_meta and type(tensor).__name__ != "FakeTensor"


def reals(tensor: Tensor) -> int:
    """How many real numbers `plain` makes of a dense tensor."""
    return plain(tensor.detach()).numel()


def simple(tensor: Tensor | None) -> bool:
    """True for a gradient that `plain` would return as it is."""
    return tensor is not None and plain(tensor) is tensor


def norms(tensors: list[Tensor]) -> Tensor:
    """L2 norms of dense tensors, shape (n,), float32 or float64, on the first tensor's device."""
    with torch.no_grad():
        kinds = {tensor.dtype for tensor in tensors}
        if kinds.isdisjoint(_HALF):
            values = list(torch._foreach_norm(tensors))
        else:
            wide = torch.float64 if torch.float64 in kinds else torch.float32
            values = list(torch._foreach_norm(tensors, 2, wide))
        if len({(value.dtype, value.device) for value in values}) > 1:
            values = [value.to(values[0].device, torch.float64, non_blocking=True) for value in values]
        return torch.stack(values)


def sample(tensor: Tensor, size: int = SAMPLE) -> Tensor:
    """At most about `size` elements of a tensor, as a flat float view or copy.

    Evenly strided, with a stride that has no divisor in common with the last dimension: every unit is met.
    """
    flat = plain(tensor.detach())
    width = flat.shape[-1] if flat.ndim else 1
    flat = flat.reshape(-1)
    if flat.numel() > size:
        stride = flat.numel() // size
        while math.gcd(stride, width) != 1:
            stride += 1
        flat = flat[::stride]
    return flat if flat.is_floating_point() else flat.float()


def is_plain(value: Any) -> bool:
    """True for an ordinary tensor with data: not a subclass, not inside a function transform, not being traced."""
    return (
        type(value) in PLAIN and value.layout is torch.strided and not value.is_meta and not _functorch_wrapped(value)
    )


def transformed(value: Tensor) -> bool:
    """True for a tensor inside a function transform (vmap, grad), or while the user's code is being traced."""
    return _functorch_wrapped(value) or _tracing_state() is not None


def tracing() -> bool:
    """True while the user's code is compiled or traced rather than run."""
    return torch.compiler.is_compiling() or _tracing_state() is not None


def holds_anything(gradient: Tensor) -> bool:
    """Whether a gradient has a value other than zero; on a device, where looking would make it wait: True."""
    if gradient.device.type != "cpu" or gradient.is_sparse:
        return True
    return bool(torch.count_nonzero(sample(gradient, 64)))
