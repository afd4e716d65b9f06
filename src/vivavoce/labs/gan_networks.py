"""Generators and critics of the lab: for points, for pictures, for films. All critics are piecewise linear.

Both networks for points see sines and cosines of their inputs, too: without them they learn what is fine-grained far too
slowly (Tancik et al. 2020), and a generator that is slower than its critic loses modes.

The slope ∂D/∂x of a piecewise linear network is its chain of transposed layers with the same units switched on, so it
costs one more pass, and the penalty on it needs no second derivative: where the pattern of units changes, and only
there, is its derivative not what automatic differentiation would give, and there it gives nothing either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2  # slope of a unit that is off
SMALLEST = 8  # pixels a side up to which a picture is a plain vector
FINEST = 7  # pixels a side down to which pictures are halved
WIDTH = 128  # units of a layer, of networks without convolutions
POINT_WIDTH = 64  # units of a layer of the critic of points
WAVES = 32  # sines, and as many cosines
CRITIC_WAVES, GENERATOR_WAVES = 4.0, 3.0  # deviation of their frequencies: radians a unit of the plane, of the noise
CHANNELS = 24  # of the convolutions next to the picture; twice as many behind each halving
MOST_CHANNELS = 96
LAST_GAIN = 0.5  # of a generator's last layer: samples begin near the middle of the data


Player = TypeVar("Player", bound=nn.Module)


class Waves(nn.Module):
    """x (n, d) with sines and cosines of fixed random combinations of it: (n, d + 2 · `WAVES`)."""

    def __init__(self, dimensions: int, scale: float, random: torch.Generator) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", scale * torch.randn(WAVES, dimensions, generator=random))

    def forward(self, x: Tensor) -> Tensor:
        """The features (n, d + 2 · `WAVES`) of x (n, d)."""
        turned = x @ self.frequencies.T
        return torch.cat([x, turned.sin(), turned.cos()], dim=1)

    def transposed(self, slope: Tensor, x: Tensor) -> Tensor:
        """∂/∂x (n, d) of what has the given slope (n, d + 2 · `WAVES`) in the features."""
        turned = x @ self.frequencies.T
        plain, sine, cosine = slope.split([x.shape[1], WAVES, WAVES], dim=1)  # type: ignore[no-untyped-call]
        moved: Tensor = plain + (sine * turned.cos() - cosine * turned.sin()) @ self.frequencies
        return moved


class Critic(nn.Module):
    """Linear layers and convolutions, each but the last followed by a leaky ReLU; one score an example.

    `forward` takes x (n, …) and gives (n,). `slopes` gives ∂D/∂x of the pass whose units `forward` noted in `units`.
    """

    def __init__(self, layers: Sequence[nn.Module], waves: Waves | None = None) -> None:
        super().__init__()
        self.waves = waves
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, units: list[Tensor] | None = None) -> Tensor:
        """Scores (n,) of examples (n, …). Each layer's slopes, 1 or `LEAK`, are appended to `units` where it is given."""
        x = x if self.waves is None else self.waves(x)
        for layer in self.layers[:-1]:
            x = layer(_shaped(layer, x))
            if units is None:
                x = F.leaky_relu(x, LEAK)
            else:
                units.append(torch.where(x.detach() > 0, x.new_ones(()), x.new_full((), LEAK)))
                x = x * units[-1]
        scores: Tensor = self.layers[-1](_shaped(self.layers[-1], x))
        return scores.flatten()

    def slopes(self, units: Sequence[Tensor], x: Tensor) -> Tensor:
        """∂D/∂x of the examples x (n, …) of a pass, of the same shape: differentiable in the weights, not in x."""
        weight = self.layers[-1].get_parameter("weight")
        slope = weight.expand(len(units[0]), -1)
        for layer, on in zip(reversed(list(self.layers)[:-1]), reversed(units), strict=True):
            slope = _transposed(layer, slope.reshape(on.shape) * on)
        return slope.reshape(x.shape) if self.waves is None else self.waves.transposed(slope, x)


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


@torch.random.fork_rng(devices=[])
def for_points(latent: int, random: torch.Generator) -> tuple[Generator, Critic]:
    """Networks for points in the plane, a few units from the origin, with details of a twentieth of a unit."""
    seen, noise = Waves(2, CRITIC_WAVES, random), Waves(latent, GENERATOR_WAVES, random)
    inner = [nn.Linear(2 + 2 * WAVES, POINT_WIDTH), nn.Linear(POINT_WIDTH, POINT_WIDTH), nn.Linear(POINT_WIDTH, 1)]
    generator = Generator(latent, [noise, *_dense(latent + 2 * WAVES, WIDTH, WIDTH, 2)])
    critic = Critic(inner, seen)
    _initialise(generator, critic, random)
    return generator, critic


@torch.random.fork_rng(devices=[])
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
    return _channels_last(generator), _channels_last(critic)


@torch.random.fork_rng(devices=[])
def for_films(latent: int, frames: int, size: int, random: torch.Generator) -> tuple[Generator, Critic]:
    """Networks for films (1, frames, size, size) with values in −1 … 1: their convolutions go over time, too."""
    generator, critic = _convolutions(latent, (1, frames, size, size), nn.Conv3d)
    _initialise(generator, critic, random)
    return _channels_last(generator, films=True), _channels_last(critic, films=True)


def _channels_last(player: Player, films: bool = False) -> Player:
    """A picture's colours next to each other in memory: a third less time on a processor (measured at 32 pixels a side)."""
    player.to(memory_format=torch.channels_last_3d if films else torch.channels_last)  # type: ignore[call-overload]
    return player


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
