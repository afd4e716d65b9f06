"""Pictures against Pillow, which reads what we write."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vivavoce.labs.pictures import enlarged, film, png, tiled


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_a_picture_comes_back(channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    image = Image.open(io.BytesIO(png(pixels)))
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_the_frames_of_a_film_come_back_in_order() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    image = Image.open(io.BytesIO(film(frames, 80)))
    assert image.n_frames == 4  # type: ignore[attr-defined]
    for index, frame in enumerate(frames):
        image.seek(index)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frame)
        assert image.info["duration"] == 80


def test_tiles_lie_row_by_row_with_transparent_gaps() -> None:
    pictures = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) + np.full((3, 2, 2, 1), 10, np.uint8)
    sheet = tiled(pictures, 2, gap=1)
    assert sheet.shape == (5, 5, 4)
    assert sheet[[0, 0, 3], [0, 3, 0], 0].tolist() == [10, 11, 12]
    assert not sheet[2].any()
    assert not sheet[3, 3].any()
    assert enlarged(pictures, 3).shape == (3, 6, 6, 1)


@pytest.mark.parametrize("shape", [(0, 2, 2, 1), (2, 2, 2, 2), (2, 2, 2)])
def test_what_is_no_film_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        film(np.zeros(shape, np.uint8), 10)
