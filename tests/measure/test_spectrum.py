"""Spectra against numpy and scipy and against the definition; cycles against known ones and the Cramér–Rao bound."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import signal as scipy_signal

from vivavoce.measure import spectrum
from vivavoce.measure.spectrum_cycles import Cycle, cramer_rao, find_cycles
from vivavoce.measure.spectrum_stream import AveragedSpectrum
from vivavoce.measure.spectrum_transform import learned, spectrogram, strongest

Floats = NDArray[np.float64]


def cosines(n: int, *cycles: tuple[float, float, float]) -> Floats:
    """A sum of amplitude · cos(2π · frequency · t + phase), frequency in cycles a sample."""
    t = np.arange(n)
    return np.sum([a * np.cos(2 * np.pi * f * t + phase) for f, a, phase in cycles], axis=0)


def turned(angle: float) -> float:
    return float(abs(np.angle(np.exp(1j * angle))))


@pytest.mark.parametrize("n", [2, 3, 16, 101, 256])
def test_coefficients_are_those_of_the_definition(n: int) -> None:
    x = np.random.default_rng(n).standard_normal(n)
    definition = [sum(x[t] * np.exp(-2j * np.pi * k * t / n) for t in range(n)) for k in range(n // 2 + 1)]
    np.testing.assert_allclose(spectrum(x).coefficients, definition, atol=1e-10)


@pytest.mark.parametrize("window", ["none", "hann"])
@pytest.mark.parametrize("n", [64, 65])
def test_amplitude_and_phase_on_a_bin(n: int, window: str) -> None:
    x = 3.0 + cosines(n, (5 / n, 2.0, 0.7), (20 / n, 0.5, -2.0))
    found = spectrum(x, rate=10.0, window=window)  # type: ignore[arg-type]
    assert found.frequencies[5] == pytest.approx(10 * 5 / n)
    assert found.amplitude[[0, 5, 20]] == pytest.approx([3.0, 2.0, 0.5])
    assert found.phase[[5, 20]] == pytest.approx([0.7, -2.0])


def test_half_the_rate_is_not_doubled() -> None:
    assert spectrum(np.tile([1.0, -1.0], 8)).amplitude[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("window", ["none", "hann"])
@pytest.mark.parametrize("n", [50, 51])
def test_tensors_give_the_same(n: int, window: str) -> None:
    x = np.random.default_rng(0).standard_normal(n)
    ours = spectrum(x, 3.0, window)  # type: ignore[arg-type]
    theirs = spectrum(torch.tensor(x), 3.0, window)  # type: ignore[arg-type]
    for name in ("frequencies", "coefficients", "amplitude"):
        np.testing.assert_allclose(getattr(theirs, name).numpy(), getattr(ours, name), atol=1e-12)
    assert spectrum(torch.arange(8)).amplitude.dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([], "at least 2 samples are needed, not 0"),
        ([1.0, float("nan")], "1 of 2 samples are not finite, the first is number 1"),
        ([[1.0, 2.0]], r"\(1, 2\)"),
        (["a", "b"], "real numbers"),
    ],
)
def test_what_is_no_signal_is_refused(x: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spectrum(x)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="'square' is none of none, hann"):
        spectrum([1.0, 2.0], window="square")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate must be positive, not 0"):
        spectrum([1.0, 2.0], rate=0)
    with pytest.raises(ValueError, match="n ≥ 2"):
        spectrum(torch.ones(1))


@pytest.mark.parametrize("n", [40, 41])
def test_all_frequencies_rebuild_the_signal_and_few_are_the_best(n: int) -> None:
    x = np.random.default_rng(1).standard_normal(n)
    rebuilt, share = strongest(x, n)
    np.testing.assert_allclose(rebuilt, x, atol=1e-12)
    assert share == pytest.approx(1.0)
    mean, none = strongest(x, 0)
    np.testing.assert_allclose(mean, np.full(n, x.mean()), atol=1e-12)
    assert none == 0.0
    some, share = strongest(x, 5)
    assert share == pytest.approx(1 - np.var(x - some) / np.var(x))
    with pytest.raises(ValueError, match="negative"):
        strongest(x, -1)


def test_spectrogram_equals_scipy() -> None:
    x = np.random.default_rng(2).standard_normal(1_000)
    ours = spectrogram(x, 50.0, 128)
    frequencies, times, theirs = scipy_signal.spectrogram(
        x, 50.0, "hann", 128, 64, detrend=False, scaling="spectrum", mode="complex"
    )
    sides = np.where(np.arange(65) % 64 == 0, 1.0, 2.0)[:, None]
    np.testing.assert_allclose(ours.amplitude, np.abs(theirs) * sides, atol=1e-10)
    np.testing.assert_allclose(ours.times, times)
    np.testing.assert_allclose(ours.frequencies, frequencies)
    assert spectrogram(x, 50.0, 16, most=7).amplitude.shape == (9, 7)


@pytest.mark.parametrize("pieces", [1, 7, 900])
def test_the_averaged_spectrum_equals_scipy_whatever_the_pieces(pieces: int) -> None:
    x = np.random.default_rng(3).standard_normal(5_000) + 2
    ours = AveragedSpectrum(8.0, 256)
    for piece in np.array_split(x, pieces):
        ours.update(piece)
    frequencies, density = scipy_signal.welch(x, 8.0, "hann", 256)
    np.testing.assert_allclose(ours.read()[0], frequencies)
    np.testing.assert_allclose(ours.read()[1], density, rtol=1e-10)


def test_the_averaged_spectrum_refuses() -> None:
    with pytest.raises(ValueError, match="even number"):
        AveragedSpectrum(length=5)
    with pytest.raises(ValueError, match="fewer than 8 samples"):
        AveragedSpectrum(length=8).read()
    with pytest.raises(ValueError, match="not finite"):
        AveragedSpectrum().update([float("inf")])


@pytest.mark.parametrize("seed", range(20))
def test_cycles_without_noise_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, count = int(rng.integers(300, 1_500)), int(rng.integers(1, 5))
    bins = 5 + np.cumsum(rng.uniform(6, n / 2 / 6, count))  # at least six bins apart, off the bins
    truth = [(b / n, rng.uniform(0.3, 2), rng.uniform(-3, 3)) for b in bins]
    found = sorted(find_cycles(1.5 + 0.001 * np.arange(n) + cosines(n, *truth)).cycles, key=lambda c: c.frequency)
    assert len(found) == count
    for cycle, (frequency, amplitude, phase) in zip(found, truth, strict=True):
        assert abs(cycle.frequency - frequency) * n < 1e-10
        assert abs(cycle.amplitude - amplitude) < 1e-10
        assert turned(cycle.phase - phase) < 1e-9


def errors_and_scores(decibels: float, repeats: int) -> tuple[Floats, Floats, tuple[float, float, float]]:
    """Errors of frequency, amplitude and phase of one off-bin cycle, the same in standard errors, and the bound."""
    n, truth = 512, (37.3 / 512, 1.0, 0.4)
    noise = np.sqrt(0.5 / 10 ** (decibels / 10))
    rng = np.random.default_rng(int(decibels))
    errors, scores = [], []
    for _ in range(repeats):
        found = find_cycles(cosines(n, truth) + noise * rng.standard_normal(n), most=1).cycles[0]
        error = [found.frequency - truth[0], found.amplitude - 1.0, found.phase - 0.4]
        errors.append(error)
        scores.append(
            [
                e / s
                for e, s in zip(error, (found.frequency_error, found.amplitude_error, found.phase_error), strict=True)
            ]
        )
    return np.array(errors), np.array(scores), cramer_rao(1.0, float(noise), n)


@pytest.mark.parametrize("decibels", [10.0, 20.0])
def test_the_variance_reaches_the_bound_and_intervals_cover(decibels: float) -> None:
    errors, scores, bound = errors_and_scores(decibels, 600)
    assert (np.mean(errors**2, axis=0) / np.square(bound) < 1.2).all()
    covered = np.mean(np.abs(scores) < 1.96, axis=0)
    assert ((covered > 0.92) & (covered < 0.98)).all()


def test_the_bound_is_the_inverse_of_the_information() -> None:
    """Fisher's information from numerical derivatives of the model, without any formula of the bound."""
    n, amplitude, noise, at = 80, 1.3, 0.4, np.array([0.171, 1.3, 0.9])

    def model(p: Floats) -> Floats:
        return cosines(n, (p[0], p[1], p[2]))

    step = 1e-6
    jacobian = np.stack([(model(at + step * e) - model(at - step * e)) / (2 * step) for e in np.eye(3)], axis=1)
    exact = np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)) * noise**2)
    np.testing.assert_allclose(cramer_rao(amplitude, noise, n), exact, rtol=0.02)  # the bound is that of many samples


def test_a_shift_in_time_is_a_turn_of_the_phase() -> None:
    x = cosines(900, (0.0713, 1.0, 0.2))
    early, late = find_cycles(x[:800]).cycles[0], find_cycles(x[100:]).cycles[0]
    assert turned(late.phase - early.phase - 2 * np.pi * 0.0713 * 100) < 1e-9


def test_gaps_are_bridged() -> None:
    x = cosines(600, (0.031, 1.0, 1.0), (0.2222, 0.5, -1.0)) + 0.05 * np.random.default_rng(0).standard_normal(600)
    x[np.random.default_rng(1).random(600) < 0.3] = np.nan
    x[200:240] = np.nan
    found = find_cycles(x)
    assert [c.frequency for c in found.cycles] == pytest.approx([0.031, 0.2222], abs=1e-4)
    assert [c.amplitude for c in found.cycles] == pytest.approx([1.0, 0.5], abs=0.02)
    assert np.isnan(found.residual).sum() == np.isnan(x).sum()


def noises(kind: str, rng: np.random.Generator) -> Floats:
    white = rng.standard_normal(400)
    if kind == "white":
        return white
    if kind == "walk":
        return np.cumsum(white)
    return scipy_signal.lfilter([1.0], [1.0, -0.9], white)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["white", "red", "walk"])
def test_noise_is_no_cycle(kind: str) -> None:
    rng = np.random.default_rng(5)
    assert sum(bool(find_cycles(noises(kind, rng)).cycles) for _ in range(200)) <= 2


def test_a_cycle_in_red_noise_is_found() -> None:
    rng = np.random.default_rng(6)
    (cycle,) = find_cycles(noises("red", rng) + cosines(400, (0.11, 3.0, 0.0))).cycles
    assert cycle.frequency == pytest.approx(0.11, abs=1e-3)
    low, high = cycle.interval("amplitude")
    assert low < 3.0 < high


@pytest.mark.parametrize("x", [np.zeros(50), np.full(50, 7.0), np.arange(50.0), np.full(50, 1e300)])
def test_a_straight_line_has_no_cycles(x: Floats) -> None:
    assert find_cycles(x).cycles == ()


def test_offset_slope_and_rate() -> None:
    found = find_cycles(2 + 0.5 * np.arange(300) / 10 + cosines(300, (0.05, 1.0, 0.0)), rate=10.0)
    assert (found.offset, found.slope) == (pytest.approx(2.0), pytest.approx(0.5))
    assert found.cycles[0].frequency == pytest.approx(0.5)
    assert found.cycles[0].period == pytest.approx(2.0)


def test_long_signals_are_fitted_in_blocks() -> None:
    n = 150_001
    found = find_cycles(cosines(n, (0.01234567, 1.0, 0.3)), most=1).cycles[0]
    assert abs(found.frequency - 0.01234567) * n < 1e-8


def test_cycles_refuse_bad_signals() -> None:
    with pytest.raises(ValueError, match="at least 16 samples"):
        find_cycles(np.ones(15))
    with pytest.raises(ValueError, match="at least 16 samples are needed, not 3"):
        find_cycles([1.0, 2.0, 3.0, *[np.nan] * 20])
    with pytest.raises(ValueError, match="1 of 20 samples are not finite"):
        find_cycles([np.inf, *np.ones(19)])
    with pytest.raises(ValueError, match="rate"):
        find_cycles(np.ones(20), rate=-1)


def test_intervals_are_symmetric() -> None:
    cycle = Cycle(1.0, 2.0, 0.5, 0.1, 0.2, 0.3, 0.0)
    low, high = cycle.interval("amplitude")
    assert (low + high) / 2 == pytest.approx(2.0)
    assert high - low == pytest.approx(2 * 1.959964 * 0.2)


def test_learned_shares() -> None:
    target = cosines(64, (2 / 64, 1.0, 0.1), (9 / 64, 2.0, 1.0))
    half = cosines(64, (2 / 64, 1.0, 0.1), (9 / 64, 1.0, 1.0))
    assert learned(half, target, [2, 9]) == pytest.approx([1.0, 0.5])
    assert learned(cosines(64, (2 / 64, 1.0, 0.1 + np.pi / 2)), target, [2]) == pytest.approx([0.0], abs=1e-12)
    with pytest.raises(ValueError, match="no part"):
        learned(target, np.zeros(64), [3])


def test_the_public_names_are_what_they_say_whatever_is_imported_first() -> None:
    code = "import vivavoce.measure.spectrum_cycles; from vivavoce.measure import spectrum; assert callable(spectrum)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numpy_alone_does_not_import_torch() -> None:
    code = "import sys; from vivavoce.measure import spectrum; spectrum([1., 2.]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
