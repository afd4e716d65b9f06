"""Distances between samples against SciPy, scikit-learn, the published `prdc` package and a closed form; slopes against autograd."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import torch
from bench._instruments import Bar
from prdc import compute_prdc
from scipy import linalg
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import polynomial_kernel

from vivavoce.labs.gan_networks import for_pictures, for_points
from vivavoce.measure import frechet_distance, kernel_distance, sample_quality, score_separation, slope_norms

LAB = "gan"
SIZES = ((400, 300), (1_500, 1_500))  # examples: quick, full
WIDTH = 64


def bars(quick: bool) -> list[Bar]:
    n, m = SIZES[not quick]
    random = np.random.default_rng(0)
    mix = random.standard_normal((WIDTH, WIDTH)) / 8
    real, made = random.standard_normal((n, WIDTH)) @ mix, 0.9 * random.standard_normal((m, WIDTH)) @ mix + 0.05
    return [
        Bar(LAB, "Fréchet distance, relative error", _frechet(real, made), 1e-9, True, "SciPy's matrix root (the formula of pytorch-fid)"),
        Bar(LAB, "kernel distance, relative error", _kernel(real, made), 1e-9, True, "scikit-learn's polynomial kernel, pair by pair"),
        Bar(LAB, "precision, recall, density, coverage: largest difference", _quality(real, made), 1e-12, True, "prdc 0.2 (Naeem et al.)"),
        Bar(LAB, "area under the curve, error", _area(random), 1e-12, True, "scikit-learn"),
        Bar(LAB, "slopes without second derivatives, relative error", _slopes(), 1e-5, True, "autograd, float32"),
    ]  # fmt: skip


def _frechet(real: np.ndarray, made: np.ndarray) -> float:
    c1, c2 = np.cov(real, rowvar=False), np.cov(made, rowvar=False)
    root = linalg.sqrtm(c1 @ c2).real
    expected = float(np.sum((real.mean(0) - made.mean(0)) ** 2) + np.trace(c1) + np.trace(c2) - 2 * np.trace(root))
    return abs(frechet_distance(real, made) / expected - 1)


def _kernel(real: np.ndarray, made: np.ndarray) -> float:
    n, m, d = len(real), len(made), real.shape[1]
    k11, k22, k12 = (
        polynomial_kernel(a, b, degree=3, gamma=1 / d, coef0=1) for a, b in ((real, real), (made, made), (real, made))
    )
    within = (k11.sum() - np.trace(k11)) / (n * (n - 1)) + (k22.sum() - np.trace(k22)) / (m * (m - 1))
    return abs(kernel_distance(real, made) / (within - 2 * k12.mean()) - 1)


def _quality(real: np.ndarray, made: np.ndarray) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        expected = compute_prdc(real, made, nearest_k=5)
    found = sample_quality(real, made, 5)
    return max(abs(getattr(found, name) - float(value)) for name, value in expected.items())


def _area(random: np.random.Generator) -> float:
    real, made = random.integers(0, 40, 700), random.integers(-10, 30, 500)
    expected = roc_auc_score(np.repeat([1, 0], [700, 500]), np.concatenate([real, made]))
    return abs(score_separation(real, made).area - float(expected))


def _slopes() -> float:
    worst = 0.0
    random = torch.Generator().manual_seed(0)
    for players, shape in ((for_points(2, random), (2,)), (for_pictures(8, 3, 32, random), (3, 32, 32))):
        x = torch.randn(16, *shape, generator=random)
        units: list[torch.Tensor] = []
        players[1](x, units)
        own = players[1].slopes(units, x).detach().flatten(1).norm(dim=1)
        worst = max(worst, (own / slope_norms(players[1], x) - 1).abs().max().item())
        assert np.isfinite(own.numpy()).all()
    return worst
