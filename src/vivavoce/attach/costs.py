"""What a call of a module costs: multiply-adds of its weights, from shapes alone."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3, "RNNCell": 1, "LSTMCell": 4, "GRUCell": 3}


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor, or of the first one in a tuple, list or dictionary; () where there is none."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, tuple | list) else []
    return next((found for part in parts if (found := shape_of(part))), ())


def multiply_adds(module: nn.Module, args: Any, output: Any) -> int:
    """Multiplications, each with an addition, of one call; 0 for modules that multiply by no matrix or kernel.

    Biases, normalisations and activations are left out, as is usual: they cost additions, or one operation a value.
    """
    given, made = math.prod(shape_of(args)), math.prod(shape_of(output))
    if isinstance(module, nn.Linear):
        return made * module.in_features
    if isinstance(module, nn.Bilinear):
        return made * module.in1_features * (module.in2_features + 1)
    if isinstance(module, _ConvTransposeNd):
        return given * module.out_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, _ConvNd):
        return made * module.in_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, nn.RNNBase):
        return given // module.input_size * _recurrent(module)
    if isinstance(module, nn.RNNCellBase):
        gates = GATES.get(type(module).__name__, 1)
        return given // module.input_size * gates * module.hidden_size * (module.input_size + module.hidden_size)
    if isinstance(module, nn.MultiheadAttention):
        return _attention(module, args)
    return 0


def _recurrent(module: nn.RNNBase) -> int:
    """Of one time step of one sequence."""
    directions, gates = (2 if module.bidirectional else 1), GATES.get(module.mode.split("_")[0], 1)
    kept = module.proj_size or module.hidden_size
    total = 0
    for layer in range(module.num_layers):
        inside = module.input_size if layer == 0 else directions * kept
        total += directions * gates * module.hidden_size * (inside + kept)
        total += directions * module.hidden_size * kept if module.proj_size else 0
    return total


def _attention(module: nn.MultiheadAttention, args: Any) -> int:
    """Projections of query, key, value and result, and the products of queries with keys and of weights with values."""
    if not isinstance(args, tuple) or len(args) < 3 or not all(isinstance(part, Tensor) for part in args[:3]):
        return 0
    query, key = args[0], args[1]
    width = module.embed_dim
    batched = query.ndim == 3
    batch = 1 if not batched else query.shape[0 if module.batch_first else 1]
    queries, keys = query.numel() // query.shape[-1] // batch, key.numel() // key.shape[-1] // batch
    projections = width * (2 * queries * width + keys * (module.kdim + module.vdim))
    return int(batch * (projections + 2 * queries * keys * width))
