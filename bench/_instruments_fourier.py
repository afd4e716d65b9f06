"""Spectra and cycles against numpy, scipy and the Cramér–Rao bound; data order on runs that are really trained."""

from __future__ import annotations

import numpy as np
from bench._instruments import Bar
from scipy import signal

from vivavoce.labs.fourier_training import order_in_loss
from vivavoce.labs.lab import Context
from vivavoce.measure import AveragedSpectrum, find_cycles, spectrum
from vivavoce.measure.spectrum_cycles import cramer_rao

LAB = "fourier"
SAMPLES = 512


def bars(quick: bool) -> list[Bar]:
    return [*_agreement(), *_exact(quick), *_bound(quick), _alarms(quick), *_order(quick)]


def _agreement() -> list[Bar]:
    x = np.random.default_rng(0).standard_normal(10_001)
    far = np.abs(spectrum(x).coefficients - np.fft.rfft(x)).max()
    stream = AveragedSpectrum(8.0, 256)
    for piece in np.array_split(x, 13):
        stream.update(piece)
    density = signal.welch(x, 8.0, "hann", 256)[1]
    return [
        Bar(LAB, "difference of the transform from numpy", float(far), 1e-10, True, "numpy.fft"),
        Bar(LAB, "difference of the averaged spectrum from scipy", float(np.abs(stream.read()[1] - density).max()), 1e-10, True, "scipy.signal.welch"),
    ]  # fmt: skip


def _cosines(n: int, cycles: list[tuple[float, float, float]]) -> np.ndarray:
    t = np.arange(n)
    return np.sum([a * np.cos(2 * np.pi * f * t + p) for f, a, p in cycles], axis=0)


def _exact(quick: bool) -> list[Bar]:
    rng = np.random.default_rng(1)
    worst = np.zeros(3)
    for _ in range(20 if quick else 300):
        places = 8 + np.cumsum(rng.uniform(6, 70, 3))
        truth = [(b / SAMPLES, rng.uniform(0.5, 2), rng.uniform(-3, 3)) for b in places]
        found = sorted(find_cycles(_cosines(SAMPLES, truth)).cycles, key=lambda cycle: cycle.frequency)
        if len(found) != 3:
            worst[:] = np.inf
            break
        for cycle, (f, a, p) in zip(found, truth, strict=True):
            turn = abs(np.angle(np.exp(1j * (cycle.phase - p))))
            worst = np.maximum(worst, [abs(cycle.frequency - f) * SAMPLES, abs(cycle.amplitude - a), turn])
    names = ("frequency (bins)", "amplitude", "phase (rad)")
    return [
        Bar(
            LAB,
            f"cycles without noise, off the bins: largest error of {name}",
            float(value),
            1e-10,
            True,
            "known truth",
        )
        for name, value in zip(names, worst, strict=True)
    ]


def _bound(quick: bool) -> list[Bar]:
    truth = (37.3 / SAMPLES, 1.0, 0.4)
    clean = _cosines(SAMPLES, [truth])
    ratios, covered = [], []
    for decibels in (10.0, 20.0, 30.0):
        noise = float(np.sqrt(0.5 / 10 ** (decibels / 10)))
        rng = np.random.default_rng(int(decibels))
        errors = []
        for _ in range(300 if quick else 3_000):
            (cycle,) = find_cycles(clean + noise * rng.standard_normal(SAMPLES), most=1).cycles
            errors.append([cycle.frequency - truth[0], cycle.amplitude - 1, cycle.phase - 0.4])
            ends = [cycle.interval(what) for what in ("frequency", "amplitude", "phase")]
            covered.append([low <= value <= high for (low, high), value in zip(ends, truth, strict=True)])
        ratios.append(np.mean(np.square(errors), axis=0) / np.square(cramer_rao(1.0, noise, SAMPLES)))
    return [
        Bar(LAB, "variance from 10 dB on, times the Cramér–Rao bound", float(np.max(ratios)), 1.2, True, "the bound"),
        Bar(LAB, "coverage of 95 % intervals, lowest of three", float(np.mean(covered, axis=0).min()), 0.94, False, "simulation"),
    ]  # fmt: skip


def _alarms(quick: bool) -> Bar:
    rng = np.random.default_rng(2)
    repeats = 100 if quick else 1_000
    white = sum(bool(find_cycles(rng.standard_normal(300), most=1).cycles) for _ in range(repeats))
    walks = sum(bool(find_cycles(np.cumsum(rng.standard_normal(300)), most=1).cycles) for _ in range(repeats))
    return Bar(
        LAB, "cycles found in noise, white or a random walk", max(white, walks) / repeats, 0.01, True, "simulation"
    )


def _order(quick: bool) -> list[Bar]:
    data = order_in_loss(Context(quick=quick)).data
    return [
        Bar(LAB, "sorted runs that are found", data["order_found"] / data["order_runs"], 0.95, False, "trained networks"),
        Bar(LAB, "alarms on shuffled runs", data["order_alarms"] / data["order_shuffled_runs"], 0.01, True, "trained networks"),
    ]  # fmt: skip
