"""The cycles in a signal: frequency, amplitude and phase of each, to the limit that noise sets, with intervals.

A Hann window, zero padding and a parabola through the logarithms of a peak say where a cycle is; a joint least-squares
fit of all cycles (Gauss–Newton) says it exactly, which is efficient: its variance reaches the Cramér–Rao bound
(Rife and Boorstyn 1976).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.measure.spectrum_transform import Floats, checked_signal, hann

PADDING = 4  # times the length of the signal that is transformed: the parabola needs points close to the peak
FEWEST = 16  # samples
LEVEL = 1e-3  # a cycle is reported if noise alone would show one as strong in fewer than one of 1,000 signals
LOCAL = 32  # bins to each side that say how strong the noise is near a frequency
LOBE = 3  # bins to each side that belong to the peak itself: half the main lobe of a Hann window, and one
MEDIAN_LOSS = 3.0  # bins under a Hann window, by their median, tell as much of the noise as a third of them independent
RED_BINS = 400  # bins that the fit of red noise looks at, at most
RED_MEMORIES = np.concatenate(
    [np.linspace(-0.9, 0.9, 37), 1 - np.geomspace(0.08, 1e-4, 12)]
)  # of one sample by the next
NEAREST = 0.5  # bins: two cycles closer than this cannot be told apart
BLOCK = 65_536  # samples taken at once: bounds the memory of the fit
STEPS_BETWEEN, STEPS_AT_LAST = 4, 40  # Gauss–Newton steps: before the next cycle is looked for, and in the end
CONVERGED = 1e-15  # relative fall of the squared error below which the fit ends
ROUNDING = 1e-12  # of the signal's own size: what is left below it is rounding, not cycles
INTERVAL = 0.95


@dataclass(frozen=True)
class Cycle:
    """amplitude · cos(2π · frequency · t + phase), t = 0 at the first sample; phase in radians, −π … π.

    The errors are standard deviations. `p` is the chance that noise alone shows a cycle as strong anywhere.
    """

    frequency: float
    amplitude: float
    phase: float
    frequency_error: float
    amplitude_error: float
    phase_error: float
    p: float

    @property
    def period(self) -> float:
        """Seconds a cycle, or whatever the rate counts in."""
        return 1 / self.frequency

    def interval(self, what: str) -> tuple[float, float]:
        """The 95 % interval of "frequency", "amplitude" or "phase"."""
        half = NormalDist().inv_cdf((1 + INTERVAL) / 2) * float(getattr(self, f"{what}_error"))
        value = float(getattr(self, what))
        return value - half, value + half


@dataclass(frozen=True)
class Cycles:
    """The cycles, strongest first, on a straight line `offset` + `slope`·t; `noise` is the deviation of the rest."""

    cycles: tuple[Cycle, ...]
    offset: float
    slope: float
    noise: float
    residual: Floats  # shape (n,), NaN in the gaps


@dataclass(frozen=True)
class _Fit:
    """Cycles about the middle of the signal: a·cos + b·sin of `omega` (radians a sample), each (k,)."""

    omega: Floats
    a: Floats
    b: Floats
    line: Floats  # offset in the middle, and rise over the whole length
    residual: Floats  # shape (n,), 0 in the gaps
    squares: float  # sum of squared residuals


def find_cycles(
    signal: ArrayLike, rate: float = 1.0, most: int = 10, advance: Callable[[float], None] | None = None
) -> Cycles:
    """The cycles of a signal (n,) that was sampled `rate` times a second; NaN marks a missing sample.

    Cycles are taken one by one, the strongest first, until the next is no stronger than noise would show one: in the
    whole signal (F-test), and against the noise near its own frequency, so that coloured noise is no cycle. A straight
    line is fitted beside them, so nothing slower than one cycle in the whole signal is looked for.
    Intervals are those of the least-squares fit, for noise as strong as near the frequency.
    Raises ValueError for fewer than 16 samples and for a rate that is not positive.
    """
    values = checked_signal(signal, FEWEST, gaps=True)
    seen = np.isfinite(values)
    if seen.sum() < FEWEST:
        raise ValueError(f"at least {FEWEST} samples are needed, not {int(seen.sum())}")
    if not rate > 0:
        raise ValueError(f"the rate must be positive, not {rate}")
    size = float(np.nanmax(np.abs(values))) or 1.0  # squares of what is huge or tiny would overflow or vanish
    fit, chances = _greedy(np.where(seen, values, 0.0) / size, seen, most, advance or (lambda done: None))
    return _scaled(_told(fit, chances, seen, rate), size)


def _scaled(found: Cycles, size: float) -> Cycles:
    cycles = (
        replace(cycle, amplitude=cycle.amplitude * size, amplitude_error=cycle.amplitude_error * size)
        for cycle in found.cycles
    )
    return Cycles(tuple(cycles), found.offset * size, found.slope * size, found.noise * size, found.residual * size)


def _greedy(
    values: Floats, seen: NDArray[np.bool_], most: int, advance: Callable[[float], None]
) -> tuple[_Fit, list[float]]:
    fit = _refined(values, seen, np.zeros(0), STEPS_BETWEEN)
    floor = (ROUNDING * float(np.linalg.norm(values))) ** 2
    chances: list[float] = []
    while len(chances) < most and fit.squares > floor:
        place = _peak(fit)
        if place is None:
            break
        wider = _refined(values, seen, np.append(fit.omega, 2 * np.pi * place), STEPS_BETWEEN)
        chance = max(_chance_in_all(fit, wider, int(seen.sum())), _chance_nearby(fit.residual, place))
        if not chance < LEVEL or _too_close(wider.omega, len(values)):
            break
        fit = wider
        chances.append(chance)
        advance(1)
    return _refined(values, seen, fit.omega, STEPS_AT_LAST), chances


def _too_close(omega: Floats, n: int) -> bool:
    ordered = np.sort(omega)
    inside = (ordered > 0) & (ordered < np.pi)
    return bool((np.diff(ordered) < 2 * np.pi * NEAREST / n).any() or not inside.all())


def _peak(fit: _Fit) -> float | None:
    """The frequency (cycles a sample) of the highest peak of what is left, None where there is none."""
    n = len(fit.residual)
    size = 1 << (PADDING * n - 1).bit_length()
    power = np.abs(np.fft.rfft(fit.residual * hann(n), size)) ** 2
    grid = np.arange(len(power)) / size
    power[grid * n < 1] = 0.0
    for omega in fit.omega:
        power[np.abs(grid - omega / (2 * np.pi)) * n < NEAREST] = 0.0
    top = int(power[1:-1].argmax()) + 1
    around = power[top - 1 : top + 2]
    if not (around > 0).all():
        return None if power[top] == 0 else top / size
    left, middle, right = np.log(around)
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float((top + np.clip(shift, -0.5, 0.5)) / size)


def _chance_in_all(before: _Fit, after: _Fit, n: int) -> float:
    """F-test of two more parameters at a known frequency, times the frequencies that were tried.

    For F(2, ν) the tail is (1 + 2F/ν)^(−ν/2) in closed form.
    """
    free = n - 3 * len(after.omega) - 2
    if free <= 0:
        return 1.0
    if after.squares <= 0:
        return 0.0
    return float(n * np.exp(-free / 2 * np.log(max(before.squares / after.squares, 1.0))))


def _chance_nearby(residual: Floats, place: float) -> float:
    """The same against the noise near the frequency: its strength comes from the median of the bins around."""
    n = len(residual)
    power = np.abs(np.fft.rfft(residual * hann(n))) ** 2
    bins = np.arange(len(power))
    away = np.abs(bins - place * n)
    around = power[(away > LOBE) & (away <= LOBE + LOCAL) & (bins > 0)]
    if len(around) < LOBE:
        return 0.0
    noise = max(float(np.median(around)) / np.log(2), _red_noise(power, place))
    if noise <= 0:
        return 0.0
    turn = np.exp(-2j * np.pi * place * np.arange(n))
    ratio = float(np.abs((residual * hann(n)) @ turn) ** 2) / noise
    degrees = len(around) / MEDIAN_LOSS
    return float(n * np.exp(-degrees * np.log1p(ratio / degrees)))


def _red_noise(power: Floats, place: float) -> float:
    """The power at a frequency of the first-order autoregressive noise whose spectrum fits best.

    The fit is by least absolute deviations of the logarithms, which a few peaks do not move, over bins that are spread
    evenly in log frequency: red noise differs from white at its low end.
    """
    n = 2 * (len(power) - 1)
    bins = np.unique(np.geomspace(1, len(power) - 2, RED_BINS).round().astype(np.int64)) if n > 4 else np.zeros(0, int)
    bins = bins[power[bins] > 0]
    if len(bins) < LOBE:
        return 0.0
    logs = np.log(power[bins])
    shapes = _red_shape(RED_MEMORIES[:, None], bins / n)
    levels = np.median(logs - shapes, axis=1)
    misfit = np.abs(logs - shapes - levels[:, None]).mean(axis=1)
    best = int(misfit.argmin())
    level = float(levels[best] + _red_shape(RED_MEMORIES[best], np.array([place]))[0])
    return float(np.exp(level) / np.log(2))


def _red_shape(memory: Floats, place: Floats) -> Floats:
    """Logarithm of the spectrum of x(t) = memory · x(t − 1) + white noise, up to its level."""
    return -np.log1p(memory**2 - 2 * memory * np.cos(2 * np.pi * place))


def _refined(values: Floats, seen: NDArray[np.bool_], omega: Floats, steps: int) -> _Fit:
    """The joint least-squares fit that begins at these frequencies (radians a sample)."""
    fit = _linear(values, seen, omega)
    for _ in range(steps if len(omega) else 0):
        gram, slope = _normal_equations(fit, seen, fit.residual, True)
        moved = fit.omega + _solved(gram, slope)[2 : 2 + len(omega)] / len(values)
        trial = _linear(values, seen, moved)
        if not trial.squares < fit.squares:
            break
        gain = fit.squares - trial.squares
        fit = trial
        if gain <= CONVERGED * fit.squares:
            break
    return fit


def _linear(values: Floats, seen: NDArray[np.bool_], omega: Floats) -> _Fit:
    """The best amplitudes and line at given frequencies, polished once: the residual then is exact to rounding."""
    k = len(omega)
    fit = _Fit(omega, np.zeros(k), np.zeros(k), np.zeros(2), values, float(values @ values))
    for _ in range(2):
        gram, slope = _normal_equations(fit, seen, fit.residual, False)
        change = _solved(gram, slope)
        fit = _moved(fit, values, seen, change)
    return fit


def _moved(fit: _Fit, values: Floats, seen: NDArray[np.bool_], change: Floats) -> _Fit:
    k = len(fit.omega)
    a, b, line = fit.a + change[2 : 2 + k], fit.b + change[2 + k :], fit.line + change[:2]
    residual = np.empty_like(values)
    for rows, u in _blocks(len(values)):
        angle = np.outer(u, fit.omega)
        model = line[0] + line[1] * u / len(values) + np.cos(angle) @ a + np.sin(angle) @ b
        residual[rows] = np.where(seen[rows], values[rows] - model, 0.0)
    return _Fit(fit.omega, a, b, line, residual, float(residual @ residual))


def _blocks(n: int) -> list[tuple[slice, Floats]]:
    """Slices of the signal, and the samples in them counted from its middle."""
    middle = (n - 1) / 2
    return [
        (slice(first, min(first + BLOCK, n)), np.arange(first, min(first + BLOCK, n), dtype=np.float64) - middle)
        for first in range(0, n, BLOCK)
    ]


def _normal_equations(fit: _Fit, seen: NDArray[np.bool_], residual: Floats, frequencies: bool) -> tuple[Floats, Floats]:
    """JᵀJ and Jᵀr. Columns: 1, rise, then with `frequencies` those of ω·n, then cos, then sin."""
    k, n = len(fit.omega), len(residual)
    size = 2 + (3 if frequencies else 2) * k
    gram, slope = np.zeros((size, size)), np.zeros(size)
    for rows, u in _blocks(n):
        angle = np.outer(u, fit.omega)
        cos, sin = np.cos(angle), np.sin(angle)
        columns = [np.ones((len(u), 1)), u[:, None] / n]
        if frequencies:
            columns.append(u[:, None] / n * (fit.b * cos - fit.a * sin))
        design = np.concatenate([*columns, cos, sin], axis=1)[seen[rows]]
        gram += design.T @ design
        slope += design.T @ residual[rows][seen[rows]]
    return gram, slope


def _solved(gram: Floats, slope: Floats) -> Floats:
    """The least-squares step; columns are scaled first, so that only their directions decide how well it is posed."""
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    solution: Floats = np.linalg.lstsq(gram / np.outer(scale, scale), slope / scale, rcond=None)[0] / scale
    return solution


def _told(fit: _Fit, chances: list[float], seen: NDArray[np.bool_], rate: float) -> Cycles:
    n, k = len(fit.residual), len(fit.omega)
    free = max(int(seen.sum()) - 3 * k - 2, 1)
    variance = fit.squares / free
    gram, _ = _normal_equations(fit, seen, fit.residual, True)
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    covariance = np.linalg.pinv(gram / np.outer(scale, scale), hermitian=True) / np.outer(scale, scale)
    cycles = [_cycle(fit, index, covariance, variance, seen, rate, chances[index]) for index in range(k)]
    middle = (n - 1) / 2
    return Cycles(
        tuple(sorted(cycles, key=lambda cycle: -cycle.amplitude)),
        float(fit.line[0] - fit.line[1] * middle / n),
        float(fit.line[1] / n * rate),
        float(np.sqrt(variance)),
        np.where(seen, fit.residual, np.nan),
    )


def _cycle(
    fit: _Fit, index: int, covariance: Floats, variance: float, seen: NDArray[np.bool_], rate: float, chance: float
) -> Cycle:
    n, k = len(fit.residual), len(fit.omega)
    a, b, omega = float(fit.a[index]), float(fit.b[index]), float(fit.omega[index])
    amplitude = float(np.hypot(a, b)) or np.finfo(float).tiny
    places = [2 + index, 2 + k + index, 2 + 2 * k + index]
    noise = max(variance, _noise_nearby(fit.residual, omega / (2 * np.pi)) * n / float(seen.sum()))
    own = covariance[np.ix_(places, places)] * noise  # of ω·n, a, b
    by_amplitude = np.array([0.0, a, b]) / amplitude
    by_phase = np.array([-(n - 1) / 2 / n, b / amplitude**2, -a / amplitude**2])
    phase = float(np.arctan2(-b, a)) - omega * (n - 1) / 2
    return Cycle(
        frequency=omega / (2 * np.pi) * rate,
        amplitude=amplitude,
        phase=float(np.angle(np.exp(1j * phase))),
        frequency_error=_root(own[0, 0]) / n / (2 * np.pi) * rate,
        amplitude_error=_root(by_amplitude @ own @ by_amplitude),
        phase_error=_root(by_phase @ own @ by_phase),
        p=chance,
    )


def _root(variance: Any) -> float:
    return float(np.sqrt(max(float(variance), 0.0)))


def _noise_nearby(residual: Floats, place: float) -> float:
    """The variance that white noise as strong as that near a frequency would have."""
    n = len(residual)
    window = hann(n)
    power = np.abs(np.fft.rfft(residual * window)) ** 2 / float(window @ window)
    middle = round(place * n)
    return float(power[max(middle - LOCAL, 1) : middle + LOCAL + 1].mean())


def cramer_rao(amplitude: float, noise: float, n: int, rate: float = 1.0) -> tuple[float, float, float]:
    """The least standard deviations of frequency, amplitude and phase at the first sample that any unbiased estimate has.

    One cosine in white noise of deviation `noise`, n samples (Rife and Boorstyn 1976): with η = A² / 2σ², var ω =
    12 / (η n (n² − 1)), var A = 2σ² / n, var φ = 2 (2n − 1) / (η n (n + 1)).
    """
    eta = amplitude**2 / (2 * noise**2)
    frequency = np.sqrt(12 / (eta * n * (n**2 - 1))) / (2 * np.pi) * rate
    return float(frequency), float(np.sqrt(2 / n) * noise), float(np.sqrt(2 * (2 * n - 1) / (eta * n * (n + 1))))
