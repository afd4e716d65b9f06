"""Precision and recall, density and coverage of a sample, by k-nearest neighbours among features.

Arrays are measured with NumPy, tensors where they lie, by `neighbours_torch`, imported only where a tensor is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from vivavoce.measure.features import Floats, as_array, is_tensor, two_samples

NEAREST = 5  # neighbours (Naeem et al. 2020); Kynkäänniemi et al. 2019 take 3
ROWS = 1_024  # examples whose distances are held at once

Distances = Callable[[Any, Any], Any]  # (n, d), (m, d) -> (n, m)


@dataclass(frozen=True)
class SampleQuality:
    """Of a made sample against a real one.

    `precision`: share of the made examples that lie among real ones; `recall`: share of the real ones that lie among
    made ones. `density`: like precision, but counts how many neighbourhoods an example lies in (1 expected for equal
    distributions, more is possible), so that one outlier does not vouch for many; `coverage`: share of the real
    neighbourhoods that hold a made example.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    nearest: int


def sample_quality(real: Any, made: Any, nearest: int = NEAREST) -> SampleQuality:
    """Compare `made` (m, d) with `real` (n, d): arrays or tensors of features.

    An example's neighbourhood is the open ball that reaches to its `nearest`-th neighbour in its own sample, itself not
    counted. Precision and recall are those of Kynkäänniemi et al. 2019, density and coverage those of Naeem et al. 2020.
    Raises ValueError for `nearest` < 1, samples that are not larger than it, widths that differ, and NaN.
    """
    if nearest < 1:
        raise ValueError(f"at least one neighbour is needed, not {nearest}")
    first, second = two_samples(real, made, nearest + 1)
    if not (is_tensor(real) and is_tensor(made)):
        return _compare(first, second, nearest, _distances)
    device = import_module("vivavoce.measure.neighbours_torch")
    data, samples = device.ready(real, made)
    return _compare(data, samples, nearest, device.distances)


def neighbour_radii(sample: Any, nearest: int = NEAREST) -> Floats:
    """Distance of each example (n, d) to its `nearest`-th neighbour in the sample, itself not counted: (n,).

    Raises ValueError as `sample_quality` does.
    """
    rows, _ = two_samples(sample, sample, nearest + 1)
    return _radii(rows, nearest, _distances)


def _compare(real: Any, made: Any, nearest: int, distances: Distances) -> SampleQuality:
    real_radii, made_radii = _radii(real, nearest, distances), _radii(made, nearest, distances)
    holds = np.zeros(len(made), np.int64)  # real neighbourhoods that each made example lies in
    near, covered = 0, 0
    for start in range(0, len(real), ROWS):
        part = _host(distances(real[start : start + ROWS], made))
        radii = real_radii[start : start + ROWS]
        holds += (part < radii[:, None]).sum(0)
        near += int((part < made_radii).any(1).sum())
        covered += int((part.min(1) < radii).sum())
    n, m = len(real), len(made)
    return SampleQuality(
        float((holds > 0).sum()) / m, near / n, float(holds.sum()) / (nearest * m), covered / n, nearest
    )


def _radii(rows: Any, nearest: int, distances: Distances) -> Floats:
    parts = [_host(distances(rows[start : start + ROWS], rows)) for start in range(0, len(rows), ROWS)]
    for index, part in enumerate(parts):
        own = np.arange(len(part))
        part[own, index * ROWS + own] = np.inf
        parts[index] = np.partition(part, nearest - 1, axis=1)[:, nearest - 1]
    return np.concatenate(parts)


def _host(values: Any) -> Floats:
    return np.asarray(as_array(values), dtype=np.float64)


def _distances(a: Floats, b: Floats) -> Floats:
    """Euclidean distances (n, m) of rows (n, d) and (m, d), without a cube of differences."""
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * (a @ b.T)
    distances: Floats = np.sqrt(np.clip(squares, 0, None))
    return distances
