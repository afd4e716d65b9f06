"""Photographs to train on: read, shrunk where they are large, and cut into patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivavoce.labs.lab import require

LONGEST = 1600  # pixels; a larger photograph is shrunk by a whole number, which also makes it sharper and less noisy
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


LEAST = 128  # pixels; a photograph whose half is smaller than this has no half


class Photos:
    """Photographs in memory, each (H, W, 3), uint8."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self.images = list(images)
        self._areas = torch.tensor([float(image.shape[0] * image.shape[1]) for image in self.images])
        self._halves = [_half(image) for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def megapixels(self) -> float:
        """Of all photographs together."""
        return float(self._areas.sum()) / 1e6

    def split(self, every: int) -> tuple[Photos, Photos]:
        """All but each `every`-th photograph, and those."""
        kept = [image for index, image in enumerate(self.images) if index % every]
        return Photos(kept), Photos(self.images[::every])

    def patches(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """Random squares, (count, 3, size, size) in [0, 1], turned and mirrored at random; every pixel equally often.

        Half of them are cut from the photographs at half their size, which are sharper.
        """
        chosen = torch.multinomial(self._areas, count, replacement=True, generator=generator)
        halved = torch.rand(count, generator=generator) < 0.5
        sources = [(self._halves if half else self.images)[i] for i, half in zip(chosen, halved, strict=True)]
        return torch.stack([self._patch(source, size, generator) for source in sources])

    def centres(self, size: int) -> Iterator[Tensor]:
        """The centre of each photograph, (3, size, size) in [0, 1]."""
        for image in self.images:
            top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
            yield _tensor(image[top : top + size, left : left + size])

    @staticmethod
    def _patch(image: np.ndarray, size: int, generator: torch.Generator) -> Tensor:
        top, left, turn = (
            int(torch.randint(bound, (), generator=generator))
            for bound in (image.shape[0] - size + 1, image.shape[1] - size + 1, 8)
        )
        patch = np.rot90(image[top : top + size, left : left + size], turn % 4)
        return _tensor(patch[:, ::-1] if turn >= 4 else patch)


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


def _half(image: np.ndarray) -> np.ndarray:
    if min(image.shape[:2]) < 2 * LEAST:
        return image
    return np.asarray(require("PIL.Image").fromarray(image).reduce(2))


def _tensor(patch: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1))).float() / 255
