"""The level of noise in a picture, against noise that was put there."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from vivavoce.measure import noise_level
from vivavoce.measure.picture_noise import CHOSEN_SHARE, FLAT_BOUND, PATCH, local_level

TOLERANCE = 1.5  # of 255


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return load_sample_image("china.jpg").mean(2)


@pytest.mark.parametrize("level", [5.0, 15.0, 25.0, 40.0, 55.0])
def test_the_level_of_white_noise_on_a_photograph_is_found(photo: np.ndarray, level: float) -> None:
    noisy = photo + level * np.random.default_rng(0).normal(size=photo.shape)
    assert noise_level(noisy) == pytest.approx(level, abs=TOLERANCE)


@pytest.mark.parametrize("scale", [1 / 255, 257.0])
def test_the_level_has_the_unit_of_the_picture(photo: np.ndarray, scale: float) -> None:
    noisy = photo + 20 * np.random.default_rng(1).normal(size=photo.shape)
    assert noise_level(scale * noisy) == pytest.approx(scale * noise_level(noisy), rel=1e-9)


def test_pure_noise_and_a_flat_picture() -> None:
    assert noise_level(np.random.default_rng(2).normal(size=(200, 300))) == pytest.approx(1, abs=0.05)
    assert noise_level(np.full((40, 40), 7.0)) == 0
    rows, columns = np.mgrid[:100, :100]
    assert noise_level(rows + 3.0 * columns) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("bad", [np.zeros((15, 90)), np.zeros((40, 40, 3)), np.full((40, 40), np.nan)])
def test_what_is_no_picture_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="picture"):
        noise_level(bad)


def test_the_constants_are_those_of_white_noise() -> None:
    """Quantile and smallest eigenvalue of patches that do not overlap, counted here in another way."""
    patches = np.random.default_rng(4).normal(size=(100_000, PATCH, PATCH))
    texture = sum((np.diff(patches, axis=axis) ** 2).sum((1, 2)) for axis in (1, 2))
    assert np.mean(texture < FLAT_BOUND) == pytest.approx(0.95, abs=0.003)
    smallest = [
        np.linalg.svd(chosen - chosen.mean(0), compute_uv=False)[-1] ** 2 / len(chosen)
        for chosen in (patches.reshape(-1, PATCH**2), patches[texture < FLAT_BOUND].reshape(-1, PATCH**2))
    ]
    assert smallest[1] / smallest[0] == pytest.approx(CHOSEN_SHARE, abs=0.01)


def test_local_levels_are_those_of_the_squares() -> None:
    noise = np.random.default_rng(3).normal(size=(70, 41))
    found = local_level(noise, 32)
    assert found.shape == (3, 2)
    assert found[1, 0] == pytest.approx(noise[32:64, :32].std())
    assert found[2, 1] == pytest.approx(noise[64:, 32:].std())
