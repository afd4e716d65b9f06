"""How a discriminator does against a generator: its accuracy and area under the curve, and the variety of what is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vivavoce.measure.features import Floats, as_array, two_samples

MOST_PAIRED = 512  # examples between which distances are taken: 130,000 pairs


@dataclass(frozen=True)
class Separation:
    """`area`: probability that a real example scores higher than a made one, ties half: 0.5 is chance, 1 dominance.

    `accuracy`: share of both samples on their side of `threshold`, each sample weighted by half.
    """

    area: float
    accuracy: float
    threshold: float


def score_separation(real_scores: Any, made_scores: Any, threshold: float = 0.0) -> Separation:
    """Compare a discriminator's scores of real (n,) and of made (m,) examples: arrays or tensors, higher is more real.

    `threshold` is 0 for logits, 0.5 for probabilities; the area does not depend on it (Mann & Whitney 1947). Raises
    ValueError for an empty sample and for NaN.
    """
    real, made = _scores(real_scores, "real"), _scores(made_scores, "made")
    ordered = np.sort(made)
    below = np.searchsorted(ordered, real, "left").astype(np.float64)
    level = np.searchsorted(ordered, real, "right") - below
    area = float((below + 0.5 * level).mean() / len(made))
    right = 0.5 * (float((real > threshold).mean()) + float((made <= threshold).mean()))
    return Separation(area, right, threshold)


def relative_diversity(made: Any, real: Any) -> float:
    """Mean distance between the examples of `made` (m, d) over that of `real` (n, d); arrays or tensors.

    1 for equal distributions, 0 where one example is repeated. A few lost modes out of many hardly change it. Raises
    ValueError for fewer than two rows, widths that differ, values that are not finite, and real examples all alike.
    """
    data, samples = two_samples(real, made, 2)
    wanted = _mean_distance(data)
    if wanted <= 0:
        raise ValueError("the real examples are all alike: there is no variety to compare with")
    return _mean_distance(samples) / wanted


def energy_distance(real: Any, made: Any) -> float:
    """1 − (E‖x − x′‖ + E‖y − y′‖) / (2 E‖x − y‖) of real x (n, d) and made y (m, d), arrays or tensors: 0 equal … 1.

    The energy distance of Székely & Rizzo 2013 over its largest value, each pair of different examples counted once, so
    that it may fall a little below 0 for equal distributions. It needs no features and no bandwidth. Raises ValueError as
    `relative_diversity` does, but for examples that are all alike on both sides.
    """
    data, samples = (_thinned(rows) for rows in two_samples(real, made, 2))
    between = float(np.linalg.norm(data[:, None] - samples[None], axis=2).mean())
    if between <= 0:
        return 0.0
    return 1 - (_mean_distance(data) + _mean_distance(samples)) / (2 * between)


def _thinned(rows: Floats) -> Floats:
    kept: Floats = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_PAIRED)).round().astype(int)]
    return kept


def _mean_distance(rows: Floats) -> float:
    rows = _thinned(rows)
    upper, lower = np.triu_indices(len(rows), 1)
    squares = (rows * rows).sum(1)
    product = squares[:, None] + squares[None] - 2 * (rows @ rows.T)
    return float(np.sqrt(np.clip(product[upper, lower], 0, None)).mean())


def _scores(values: Any, name: str) -> Floats:
    scores = np.asarray(as_array(values), dtype=np.float64).reshape(-1)
    if not len(scores):
        raise ValueError(f"{name}: at least one score is needed")
    if np.isnan(scores).any():
        raise ValueError(f"{name}: {int(np.isnan(scores).sum()):,} of {len(scores):,} scores are NaN")
    return scores
