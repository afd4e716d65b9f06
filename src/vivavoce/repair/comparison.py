"""Arms against the control: paired by seed, with bootstrap intervals, corrected where there are several arms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vivavoce.repair.reading import Better

Floats = NDArray[np.float64]

LEVEL = 0.05  # of significance, for all arms together
FEWEST_SEEDS = 3  # of complete separation of 3 from 3 the probability by luck is 1/20
PAIRED_FROM = 5  # seeds: from there on the paired test can reach LEVEL, 2⁻⁵ = 0.031
EXACT_UP_TO = 5  # seeds whose nⁿ bootstrap samples are all taken
RESAMPLES = 10_000  # bootstrap samples of more seeds
SMALLEST = 0.02  # of the control's level: a smaller gain is no repair, whatever its sign
SEED = 0  # of the resampling


@dataclass(frozen=True)
class Effect:
    """What an arm does to the yardstick, positive where it is better: mean paired `difference` over `pairs` seeds.

    `low` and `high` bound it (bootstrap over seeds; None of fewer than two); `luck` is the probability of such an order of the
    runs if the arm did nothing, corrected for the number of arms. Infinite where the control ends not finite and the arm does not.
    """

    pairs: int
    difference: float
    low: float | None
    high: float | None
    luck: float
    relative: float  # difference over the size of the control's mean level

    @property
    def proved(self) -> bool:
        """Better at every point of the interval, not by luck, and by more than a trifle."""
        enough = self.pairs >= FEWEST_SEEDS and self.low is not None and self.low > 0
        return enough and self.luck <= LEVEL and self.relative >= SMALLEST

    @property
    def worse(self) -> bool:
        """Worse at every point of the interval, by more than a trifle."""
        return self.high is not None and self.high < 0 and self.relative <= -SMALLEST


def effect(control: Mapping[int, float], arm: Mapping[int, float], better: Better, arms: int = 1) -> Effect | None:
    """The effect of one arm of `arms` that are looked at; levels by seed. None where no seed is in both."""
    seeds = sorted(set(control) & set(arm))
    if not seeds:
        return None
    sign = 1.0 if better == "higher" else -1.0
    before = sign * np.array([control[seed] for seed in seeds])
    after = sign * np.array([arm[seed] for seed in seeds])
    luck = min(1.0, arms * _luck(before, after))
    differences, scale = _differences(before, after)
    mean = float(np.mean(differences))
    low, high = _interval(differences, LEVEL / arms) if len(seeds) > 1 else (None, None)
    relative = mean / scale if scale > 0 else math.copysign(math.inf, mean) if mean else 0.0
    return Effect(len(seeds), mean, low, high, luck, relative)


def effects(control: Mapping[int, float], arms: Mapping[str, Mapping[int, float]], better: Better) -> dict[str, Effect]:
    """The effect of each arm with intervals at LEVEL for all together (Bonferroni), and Holm's correction of `luck`."""
    several = {name: effect(control, levels, better, len(arms)) for name, levels in arms.items()}
    found = {name: one for name, one in several.items() if one is not None}
    raw = {name: one.luck for name in found if (one := effect(control, arms[name], better)) is not None}
    corrected, worst = {}, 0.0
    for rank, name in enumerate(sorted(raw, key=lambda key: raw[key])):
        worst = max(worst, min(1.0, raw[name] * (len(raw) - rank)))
        corrected[name] = replace(found[name], luck=worst)
    return {name: corrected[name] for name in found}


def worst_first(level: float, better: Better) -> float:
    """A key that sorts levels from worst to best; what is not finite is the worst."""
    if not math.isfinite(level):
        return -math.inf
    return level if better == "higher" else -level


def _differences(before: Floats, after: Floats) -> tuple[Floats, float]:
    """Paired differences, and the size of the control's level.

    A run that ended not finite stands for the worst finite one of all; where the whole control is not finite, so is the
    difference.
    """
    finite = np.concatenate([before, after])
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return np.zeros(len(before)), 0.0
    worst = float(finite.min())
    if not np.isfinite(before).any():
        return np.where(np.isfinite(after), math.inf, 0.0), 1.0
    old, new = (np.where(np.isfinite(levels), levels, worst) for levels in (before, after))
    return new - old, float(np.mean(np.abs(old)))


def _interval(differences: Floats, level: float) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979) at 1 − level, over all resamples where they are few."""
    n = len(differences)
    if not np.isfinite(differences).all():
        return float(differences.min()), float(differences.max())
    if n <= EXACT_UP_TO:
        picks = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        picks = np.random.default_rng(SEED).integers(0, n, (RESAMPLES, n))
    means = differences[picks].mean(axis=1)
    low, high = np.quantile(means, [level / 2, 1 - level / 2])
    return float(low), float(high)


def _luck(before: Floats, after: Floats) -> float:
    """Probability that the runs are in so good an order if the arm did nothing: exact, one-sided.

    Of five seeds and more by the signs of the paired differences (Fisher 1935), of fewer by the ranks of all runs (Mann and
    Whitney 1947). What is not finite has the worst rank.
    """
    ranks = _ranks(np.concatenate([before, after]))
    n = len(before)
    if n >= PAIRED_FROM:
        return _sign_flips(ranks[n:] - ranks[:n])
    observed = ranks[n:].sum()
    sums = [sum(pick) for pick in itertools.combinations(ranks, n)]
    return sum(bool(total >= observed) for total in sums) / len(sums)


def _sign_flips(differences: Floats) -> float:
    n = min(len(differences), 15)  # 32,768 sign patterns
    differences = differences[:n]
    signs: Sequence[tuple[int, ...]] = list(itertools.product((1, -1), repeat=n))
    sums = np.array(signs) @ differences
    return float(np.mean(sums >= differences.sum()))


def _ranks(values: Floats) -> Floats:
    """Mid-ranks, 1 for the worst."""
    keys = np.where(np.isfinite(values), values, -math.inf)
    return np.array([(keys < key).sum() + ((keys == key).sum() + 1) / 2 for key in keys])
