"""The growth of the gradient through a PyTorch recurrent layer, before it is trained: by its Jacobians and by autograd."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vivavoce.measure.growth import Growth, backward_log_norms, growth_of_norms

Floats = NDArray[np.float64]


def predict_growth(layer: nn.RNN, inputs: Tensor, last: Tensor | None = None) -> Growth:
    """The growth rate of the gradient through a one-layer `nn.RNN`, from its weights and its states on `inputs`.

    `inputs` (batch, T, features) where the layer has batch_first, else (T, batch, features); `last` (batch, h) is the
    gradient at the last state, ones where not given. No gradient is computed and nothing is changed. Raises ValueError
    for a layer of another kind, for several layers and for two directions.
    """
    _check(layer)
    with torch.no_grad():
        states, _ = layer(inputs)
        states = (states.transpose(0, 1) if layer.batch_first else states).double()
        slopes = (states > 0).double() if layer.nonlinearity == "relu" else 1 - states**2
        start = torch.ones_like(states[-1]) if last is None else last.double()
    weight: Tensor = layer.get_parameter("weight_hh_l0").detach().double()
    # h_0 is the first state that the recurrence carries over, so the first step's slope does not count.
    return growth_of_norms(backward_log_norms(weight.cpu().numpy(), slopes[1:].cpu().numpy(), start.cpu().numpy()))


def _check(layer: nn.RNNBase) -> None:
    if layer.mode not in ("RNN_RELU", "RNN_TANH") or layer.num_layers != 1 or layer.bidirectional:
        raise ValueError(
            f"need an nn.RNN of one layer and one direction, not {layer.mode} with {layer.num_layers} layers"
            + (" in two directions" if layer.bidirectional else "")
        )


def gradient_log_norms(layer: nn.RNNBase, inputs: Tensor, last: Tensor | None = None) -> Floats:
    """log ‖∂L/∂h_t‖ at every time step (T,), by autograd in float64: for any recurrent layer of one layer and direction.

    `inputs` and `last` as for `predict_growth`. The layer is copied; its own parameters and gradients stay as they are.
    """
    copied = _in_float64(layer)
    steps = inputs.double().transpose(0, 1) if layer.batch_first else inputs.double()
    state, visited = None, []
    for step in steps:
        _, state = copied(step[None], state)
        hidden = state[0] if isinstance(state, tuple) else state
        visited.append(hidden)
    start = torch.ones_like(visited[-1][0]) if last is None else last.double()
    gradients = torch.autograd.grad((visited[-1][0] * start).sum(), visited)
    norms = torch.stack([gradient.norm() for gradient in gradients])
    return norms.log().detach().cpu().numpy()


def _in_float64(layer: nn.RNNBase) -> nn.RNNBase:
    if layer.num_layers != 1 or layer.bidirectional:
        raise ValueError("need a recurrent layer of one layer and one direction")
    copied = copy.deepcopy(layer).double()
    copied.batch_first = False
    return copied


def measured_growth(layer: nn.RNNBase, inputs: Tensor, last: Tensor | None = None) -> Growth:
    """The growth rate that autograd finds in float64; slower than `predict_growth`, for LSTM and GRU as well."""
    return growth_of_norms(gradient_log_norms(layer, inputs, last))
