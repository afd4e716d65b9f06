"""Generators and critics of the lab: for points, for pictures, for films. All critics are piecewise linear.

The slope ∂D/∂x of a piecewise linear network is its chain of transposed layers with the same units switched on, so it
costs one more pass, and the penalty on it needs no second derivative: where the pattern of units changes, and only
there, is its derivative not what automatic differentiation would give, and there it gives nothing either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2  # slope of a unit that is off
SMALLEST = 8  # pixels a side up to which a picture is a plain vector
FINEST = 7  # pixels a side down to which pictures are halved
WIDTH = 128  # units of a layer, of networks without convolutions
CHANNELS = 24  # of the convolutions next to the picture; twice as many behind each halving
MOST_CHANNELS = 96
LAST_GAIN = 0.5  # of a generator's last layer: samples begin near the middle of the data


class Critic(nn.Module):
    """Linear layers and convolutions, each but the last followed by a leaky ReLU; one score an example.

    `forward` takes x (n, …) and gives (n,). `slopes` gives ∂D/∂x of the pass whose units `forward` noted in `units`.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, units: list[Tensor] | None = None) -> Tensor:
        """Scores (n,) of examples (n, …). Each layer's slopes, 1 or `LEAK`, are appended to `units` where it is given."""
        for layer in self.layers[:-1]:
            x = layer(_shaped(layer, x))
            if units is None:
                x = F.leaky_relu(x, LEAK)
            else:
                units.append(torch.where(x.detach() > 0, 1.0, LEAK))
                x = x * units[-1]
        scores: Tensor = self.layers[-1](_shaped(self.layers[-1], x))
        return scores.flatten()

    def slopes(self, units: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """∂D/∂x of the examples of a pass, shape (n, …) as given: differentiable in the weights."""
        weight = self.layers[-1].get_parameter("weight")
        slope = weight.expand(len(units[0]), -1)
        for layer, on in zip(reversed(list(self.layers)[:-1]), reversed(units), strict=True):
            slope = _transposed(layer, slope.reshape(on.shape) * on)
        return slope.reshape(shape)


class Generator(nn.Module):
    """From noise (n, latent) to examples."""

    def __init__(self, latent: int, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.latent = latent
        self.layers = nn.Sequential(*layers)

    def forward(self, noise: Tensor) -> Tensor:
        """Examples (n, …) from noise (n, latent)."""
        made: Tensor = self.layers(noise)
        return made


def _shaped(layer: nn.Module, x: Tensor) -> Tensor:
    return x.flatten(1) if isinstance(layer, nn.Linear) else x


def _transposed(layer: nn.Module, slope: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return slope.flatten(1) @ layer.weight
    if isinstance(layer, nn.Conv3d):
        return F.conv_transpose3d(slope, layer.weight, stride=2, padding=1)
    assert isinstance(layer, nn.Conv2d)
    return F.conv_transpose2d(slope, layer.weight, stride=2, padding=1)


def for_points(latent: int, reach: float, random: torch.Generator) -> tuple[Generator, Critic]:
    """Networks for points in the plane within about `reach` of the origin."""
    critic = Critic([nn.Linear(2, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)])
    generator = Generator(latent, _dense(latent, WIDTH, WIDTH, 2))
    _initialise(generator, critic, random)
    _spread_kinks(critic.layers[0], reach, random)
    return generator, critic


def for_pictures(latent: int, channels: int, size: int, random: torch.Generator) -> tuple[Generator, Critic]:
    """Networks for pictures (channels, size, size) with values in −1 … 1. Raises ValueError for an odd size above 8."""
    shape = (channels, size, size)
    if size <= SMALLEST:
        numbers = math.prod(shape)
        made: list[nn.Module] = [*_dense(latent, WIDTH, WIDTH, numbers), nn.Unflatten(1, shape), nn.Tanh()]
        generator, critic = (
            Generator(latent, made),
            Critic([nn.Linear(numbers, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)]),
        )
    else:
        generator, critic = _convolutions(latent, shape, nn.Conv2d)
    _initialise(generator, critic, random)
    return generator, critic


def for_films(latent: int, frames: int, size: int, random: torch.Generator) -> tuple[Generator, Critic]:
    """Networks for films (1, frames, size, size) with values in −1 … 1: their convolutions go over time, too."""
    generator, critic = _convolutions(latent, (1, frames, size, size), nn.Conv3d)
    _initialise(generator, critic, random)
    return generator, critic


def _convolutions(
    latent: int, shape: tuple[int, ...], kind: type[nn.Conv2d] | type[nn.Conv3d]
) -> tuple[Generator, Critic]:
    """Halvings down to at most `FINEST` pixels a side (two frames); the generator doubles as often."""
    place = list(shape[1:])
    widths = [shape[0]]
    while place[-1] > FINEST:
        if any(side % 2 for side in place):
            raise ValueError(f"sides must be halved down to {FINEST} or less without a rest, got {shape[1:]}")
        place = [side // 2 for side in place]
        widths.append(min(CHANNELS * 2 ** (len(widths) - 1), MOST_CHANNELS))
    down = [kind(a, b, 4, 2, 1) for a, b in pairwise(widths)]
    inner = widths[-1] * math.prod(place)
    critic = Critic([*down, nn.Linear(inner, 1)])
    made: list[nn.Module] = [nn.Linear(latent, inner), nn.LeakyReLU(LEAK), nn.Unflatten(1, (widths[-1], *place))]
    for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True):
        made += [nn.Upsample(scale_factor=2, mode="nearest"), kind(a, b, 3, 1, 1), nn.LeakyReLU(LEAK)]
    return Generator(latent, [*made[:-1], nn.Tanh()]), critic


def _dense(*sizes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(LEAK)]
    return layers[:-1]


def _initialise(generator: Generator, critic: Critic, random: torch.Generator) -> None:
    """He et al. 2015: weights N(0, 2 / inputs), biases 0; the generator's last layer smaller."""
    made = [layer for layer in generator.layers if hasattr(layer, "weight")]
    for layer in [*made, *critic.layers]:
        weight = layer.get_parameter("weight")
        inputs = weight[0].numel()
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=random) * math.sqrt(2 / inputs))
            layer.get_parameter("bias").zero_()
    with torch.no_grad():
        made[-1].get_parameter("weight").mul_(LAST_GAIN)


def _spread_kinks(layer: nn.Module, reach: float, random: torch.Generator) -> None:
    """Let the first layer's units switch on at lines spread over the whole plane, not all through the origin."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    with torch.no_grad():
        weight.div_(weight.norm(dim=1, keepdim=True))
        places = (2 * torch.rand(weight.shape, generator=random) - 1) * reach
        bias.copy_(-(weight * places).sum(1))
