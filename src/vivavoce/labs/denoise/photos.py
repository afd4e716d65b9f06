"""Photographs to train on: read, shrunk where they are large, and cut into patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivavoce.labs.denoise.network import MULTIPLE
from vivavoce.labs.lab import require

LONGEST = 800  # pixels; a larger photograph is shrunk by a whole number, which also makes it sharper and less noisy
SIZES = (0.75, 0.6, 0.5)  # of a photograph, beside its own: the smaller, the more there is to see in a patch
LEAST = 128  # pixels; no photograph is made smaller than this
TRIES = 2  # patches are drawn for each that is kept, the one with more detail: much of a photograph is sky
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


class Photos:
    """Photographs in memory, each (H, W, 3), uint8."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self.images = list(images)
        self._sizes = [list(_sizes(image)) for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def megapixels(self) -> float:
        """Of all photographs together."""
        return float(sum(image.shape[0] * image.shape[1] for image in self.images)) / 1e6

    @property
    def narrowest(self) -> int:
        """Pixels of the shortest side of all photographs."""
        return min(int(min(image.shape[:2])) for image in self.images)

    def split(self, every: int) -> tuple[Photos, Photos]:
        """All but each `every`-th photograph, and those."""
        kept = [image for index, image in enumerate(self.images) if index % every]
        return Photos(kept), Photos(self.images[::every])

    def patches(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """Random squares, (count, 3, size, size) in [0, 1], turned and mirrored, of every photograph equally many.

        They are cut from the photographs in several sizes, and more of them where there is detail.
        """
        return torch.stack([self._patch(size, generator) for _ in range(count)])

    def _patch(self, size: int, generator: torch.Generator) -> Tensor:
        return max((self._square(size, generator) for _ in range(TRIES)), key=_detail)

    def _square(self, size: int, generator: torch.Generator) -> Tensor:
        sizes = self._sizes[_below(len(self.images), generator)]
        image = sizes[_below(len(sizes), generator)]
        top, left = (_below(length - size + 1, generator) for length in image.shape[:2])
        turn = _below(8, generator)
        patch = np.rot90(image[top : top + size, left : left + size], turn % 4)
        return _tensor(patch[:, ::-1] if turn >= 4 else patch)

    def centres(self, size: int) -> Iterator[Tensor]:
        """The centre of each photograph, (3, size, size) in [0, 1]; of a smaller one as much as the network can take."""
        for image in self.images:
            side = min(size, *image.shape[:2])
            side -= side % MULTIPLE
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            yield _tensor(image[top : top + side, left : left + side])


def load_folder(paths: Sequence[str]) -> Photos:
    """All photographs among `paths` and in the folders among them, in the order of their names."""
    return Photos([_read(file) for file in files_among(paths)])


def files_among(paths: Sequence[str]) -> list[Path]:
    """The files among `paths` and the pictures in the folders among them, in the order of their names."""
    return [file for path in paths for file in _files(Path(path))]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    return [path]


def _read(file: Path) -> np.ndarray:
    image = require("PIL.Image").open(file).convert("RGB")
    factor = -(-max(image.size) // LONGEST)
    return np.asarray(image.reduce(factor))


def _sizes(image: np.ndarray) -> Iterator[np.ndarray]:
    """The photograph and smaller ones of it."""
    yield image
    pillow = require("PIL.Image")
    for factor in SIZES:
        height, width = (round(factor * length) for length in image.shape[:2])
        if min(height, width) >= LEAST:
            yield np.asarray(pillow.fromarray(image).resize((width, height), pillow.Resampling.LANCZOS))


def _detail(patch: Tensor) -> float:
    """Mean absolute difference between neighbouring pixels."""
    return float(patch.diff(dim=1).abs().mean() + patch.diff(dim=2).abs().mean())


def _below(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))


def _tensor(patch: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1))).float() / 255
