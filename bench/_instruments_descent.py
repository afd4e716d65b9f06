"""λmax and the gradient noise scale against dense and exact values, and what the latter costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from bench._instruments import Bar
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

from vivavoce.measure.curvature import extreme_eigenvalues
from vivavoce.measure.gradient_chunks import EVERY, SpacedChunks
from vivavoce.measure.gradient_noise import NoiseScale, exact_noise_scale

LAB = "descent"


def bars(quick: bool) -> list[Bar]:
    return [_largest_eigenvalue(), *_noise(8 if quick else 20), _noise_cost()]


def _largest_eigenvalue() -> Bar:
    worst = 0.0
    for seed in range(10):
        random = np.random.default_rng(seed)
        factor = random.standard_normal((300, 300))
        matrix = factor @ factor.T / 300
        found = extreme_eigenvalues(lambda v, m=matrix: m @ v, 300, seed=seed)
        true = float(eigsh(LinearOperator(matrix.shape, matvec=lambda v, m=matrix: m @ v, dtype=float), 1)[0][0])
        worst = max(worst, abs(found.largest / true - 1))
    return Bar(LAB, "relative error of λmax", worst, 0.01, True, "scipy.sparse.linalg.eigsh")


def _noise(runs: int) -> Iterator[Bar]:
    for ratio in (0.04, 0.1, 0.4):
        middle = float(np.median([_noise_factor(seed, ratio) for seed in range(runs)]))
        what = (
            f"gradient noise scale after 100 steps, every {EVERY}th in chunks, B/B_noise {ratio:g}: median factor off"
        )
        yield Bar(LAB, what, middle, 1.3, True, "covariance of all examples' gradients")


def _noise_factor(seed: int, ratio: float, batch: int = 64, dimensions: int = 256, steps: int = 100) -> float:
    """How far the estimate of one run of linear regression is from the exact covariance over the same steps."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((2_000, dimensions))
    noise = np.sqrt(max(0.0, batch / ratio / dimensions - 1))
    y = x @ random.standard_normal(dimensions) / np.sqrt(dimensions) + noise * random.standard_normal(len(x))
    weights, collector, truth = np.zeros(dimensions), NoiseScale(), []
    earlier = np.zeros(dimensions)
    for step in range(steps):
        if step % 10 == 0:
            truth.append(exact_noise_scale(x * (x @ weights - y)[:, None]))
        rows = random.integers(0, len(x), batch)
        chunks = (x[rows] * (x[rows] @ weights - y[rows])[:, None]).reshape(4, -1, dimensions).mean(axis=1)
        mean = chunks.mean(axis=0)
        if (step + 1) % EVERY == 0:
            squares = np.sum(chunks**2, axis=1).tolist()
            collector.update(squares, float(mean @ mean), batch, float(mean @ earlier) / (EVERY - 1))
            earlier = np.zeros(dimensions)
        else:
            earlier += mean
        weights = weights - 1e-3 * mean
    trace, signal = np.mean(truth, axis=0)
    return float(np.exp(abs(np.log(collector.estimate().scale * signal / trace))))


def _noise_cost() -> Bar:
    """Seconds of `EVERY` backwards, one of them in chunks, over those of plain ones, interleaved, on 2 M parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
    x, y = torch.randn(1024, 512), torch.randint(0, 10, (1024,))
    spaced = SpacedChunks(model.parameters(), NoiseScale())

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(inputs), targets)

    def timed(step: Callable[[], object]) -> float:
        model.zero_grad()
        began = time.process_time()
        step()
        return time.process_time() - began

    ratios = []
    for _ in range(7):
        pairs = [
            (timed(lambda: loss(x, y).backward()), timed(lambda: spaced.backward(loss, (x, y)))) for _ in range(EVERY)
        ]
        plain, chunked = np.sum(pairs, axis=0)
        ratios.append(chunked / plain)
    what = f"time of a backward with every {EVERY}th in chunks over a plain one"
    return Bar(LAB, what, float(np.median(ratios)), 1.02, True, "interleaved, processor time")
