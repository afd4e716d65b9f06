"""A fitted hidden layer as a PyTorch module that is saved and loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vivavoce.labs.lab import LabError
from vivavoce.measure.approximation import HiddenLayer

MARK = "vivavoce one hidden layer"


class OneHiddenLayer(nn.Module):
    """output(act(hidden(x))) + skip(x), in float64; x (n, d) to (n, 1)."""

    def __init__(self, inputs: int, width: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.hidden = nn.Linear(inputs, width).double()
        self.output = nn.Linear(width, 1, bias=False).double()
        self.skip = nn.Linear(inputs, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        """The network's output for inputs (n, d)."""
        inner: Tensor = self.hidden(x)
        units = torch.tanh(inner) if self.activation == "tanh" else torch.relu(inner)
        return torch.add(self.output(units), self.skip(x))


def as_module(layer: HiddenLayer) -> OneHiddenLayer:
    """The module that computes a layer."""
    module = OneHiddenLayer(layer.hidden.shape[1], layer.width, layer.activation)
    with torch.no_grad():
        module.hidden.weight.copy_(torch.from_numpy(layer.hidden))
        module.hidden.bias.copy_(torch.from_numpy(layer.bias))
        module.output.weight.copy_(torch.from_numpy(layer.output[None]))
        module.skip.weight.copy_(torch.from_numpy(layer.skip[None]))
        module.skip.bias.fill_(layer.offset)
    return module


def save(layer: HiddenLayer, path: str) -> None:
    """Write a layer for `load`. Raises LabError where another file would be lost or the place cannot be written."""
    target = Path(path)
    if target.exists() and not _is_ours(target):
        raise LabError(f"{target} exists and is no network that this lab has saved; name another file with --save")
    state = {"mark": MARK, "activation": layer.activation, "state": as_module(layer).state_dict()}
    try:
        torch.save(state, target)
    except (OSError, RuntimeError) as error:
        raise LabError(f"{target} cannot be written: {error}") from None


def _is_ours(target: Path) -> bool:
    try:
        load(str(target))
    except LabError:
        return False
    return True


def load(path: str) -> OneHiddenLayer:
    """The network that `save` wrote. Raises LabError where the file is no such thing."""
    try:
        data = torch.load(path, weights_only=True)
        if data["mark"] != MARK:
            raise KeyError("mark")
        weight = data["state"]["hidden.weight"]
        module = OneHiddenLayer(weight.shape[1], weight.shape[0], data["activation"])
        module.load_state_dict(data["state"])
    except Exception:
        raise LabError(f"{path} is no network that this lab has saved") from None
    return module
