"""The claims about transforms and cycles, each on signals whose cycles are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Claim, Context, Result, Table, held
from vivavoce.measure.spectrum_cycles import cramer_rao, find_cycles
from vivavoce.measure.spectrum_transform import spectrum, strongest
from vivavoce.report.words import number

Floats = NDArray[np.float64]

SAMPLES = 512
EXACT = 1e-10
BINS_BAR = 1e-10  # by which a cycle without noise may be off
BOUND_BAR = 1.2  # times the Cramér–Rao variance
DECIBELS = (10.0, 20.0, 30.0)
COVERED = (0.92, 0.98)  # of 95 % intervals, over hundreds of signals
ALARM_BAR = 0.01  # of signals that are noise alone


def cosines(n: int, cycles: list[tuple[float, float, float]]) -> Floats:
    """A sum of (frequency in cycles a sample, amplitude, phase), shape (n,)."""
    t = np.arange(n)
    total: Floats = np.sum([a * np.cos(2 * np.pi * f * t + p) for f, a, p in cycles], axis=0)
    return total


def _turn(angle: float) -> float:
    return float(abs(np.angle(np.exp(1j * angle))))


def transform(context: Context) -> Result:
    """The transform is its definition, its inverse loses nothing, a shift in time turns the phase."""
    x = context.rng(1).standard_normal(SAMPLES)
    found = spectrum(x)
    t = np.arange(SAMPLES)
    definition = np.array([np.sum(x * np.exp(-2j * np.pi * k * t / SAMPLES)) for k in range(SAMPLES // 2 + 1)])
    far = float(np.abs(found.coefficients - definition).max())
    lost = float(np.abs(strongest(x, SAMPLES)[0] - x).max())
    shift = 37
    turned = spectrum(np.roll(x, -shift)).coefficients
    expected = found.coefficients * np.exp(2j * np.pi * np.arange(len(turned)) * shift / SAMPLES)
    off = float(np.abs(turned - expected).max())
    claims = [
        held(
            "the fast transform is the sum of the definition", f"off by {number(far)}", f"within {EXACT:g}", far < EXACT
        ),
        held("the inverse gives the signal back", f"off by {number(lost)}", f"within {EXACT:g}", lost < EXACT),
        held("a shift in time is a turn of the phase", f"off by {number(off)}", f"within {EXACT:g}", off < EXACT),
    ]
    return Result("", claims)


def exactness(context: Context) -> Result:
    """Cycles between the bins: read off the transform, and fitted."""
    rng = context.rng(2)
    read, fitted = np.zeros(3), np.zeros(3)
    count = 20 if context.quick else 200
    for _ in context.track("cycles without noise", range(count)):
        places = 8 + np.cumsum(rng.uniform(8, 70, 3))
        truth = [(float(b) / SAMPLES, float(rng.uniform(0.5, 2)), float(rng.uniform(-3, 3))) for b in places]
        x = cosines(SAMPLES, truth)
        fits = sorted(find_cycles(x).cycles, key=lambda cycle: cycle.frequency)
        if len(fits) != len(truth):
            fitted[:] = np.inf
            break
        plain = spectrum(x)
        for (f, a, p), cycle in zip(truth, fits, strict=True):
            errors = (abs(cycle.frequency - f) * SAMPLES, abs(cycle.amplitude - a), _turn(cycle.phase - p))
            fitted = np.maximum(fitted, errors)
            near = round(f * SAMPLES)
            errors = (abs(near - f * SAMPLES), abs(plain.amplitude[near] - a), _turn(plain.phase[near] - p))
            read = np.maximum(read, errors)
    rows = [
        [name, *(number(float(value)) for value in errors)]
        for name, errors in (("read off the transform", read), ("fitted", fitted))
    ]
    table = Table("Largest errors without noise", ["", "frequency (bins)", "amplitude", "phase (rad)"], rows)
    claims = [
        held(
            "cycles between the bins are found exactly",
            f"{number(float(fitted[0]))} bins, {number(float(fitted[1]))}, {number(float(fitted[2]))} rad",
            f"within {BINS_BAR:g} bins",
            fitted[0] < BINS_BAR,
        ),
        Claim(
            "the highest bin is the frequency, its height the amplitude",
            f"off by up to {number(float(read[0]))} bins, {number(float(read[1]))}, {number(float(read[2]))} rad",
            "exact",
            "holds only when",
            "the record holds a whole number of periods",
        ),
    ]
    return Result("", claims, [table])


def bound(context: Context) -> Result:
    """Variance against the Cramér–Rao bound, and how often the intervals hold the truth."""
    repeats = 100 if context.quick else 500
    truth = (37.3 / SAMPLES, 1.0, 0.4)
    ratios, covered = np.zeros((len(DECIBELS), 3)), np.zeros((len(DECIBELS), 3))
    for row, decibels in enumerate(context.track("cycles in noise", DECIBELS)):
        noise = float(np.sqrt(0.5 / 10 ** (decibels / 10)))
        errors, inside = _repeated(truth, noise, repeats, context.rng(10 + row))
        ratios[row] = np.mean(errors**2, axis=0) / np.square(cramer_rao(1.0, noise, SAMPLES))
        covered[row] = inside.mean(axis=0)
    slack = 1 + 4 * np.sqrt(2 / repeats) if context.quick else BOUND_BAR
    claims = [
        held(
            "no unbiased estimate could be better",
            f"variance up to {ratios.max():.2f} × the Cramér–Rao bound",
            f"at most {slack:.2f} × from {DECIBELS[0]:g} dB on",
            ratios.max() <= slack,
        ),
        held(
            "the 95 % intervals hold the truth",
            f"{100 * covered.mean():.1f} %",
            f"{100 * COVERED[0]:.0f} to {100 * COVERED[1]:.0f} %",
            COVERED[0] <= covered.mean() <= COVERED[1],
        ),
    ]
    x = np.array(DECIBELS)
    lines = [Line(name, x, ratios[:, column]) for column, name in enumerate(("frequency", "amplitude", "phase"))]
    plot = XYPlot("bound", "Variance over the Cramér–Rao bound", "1 is the least that is possible.", "signal to noise, dB", "ratio", lines)  # fmt: skip
    data = {"variance_over_bound": ratios, "coverage": covered}
    return Result("", claims, figures=[plot], data=data)


def _repeated(
    truth: tuple[float, float, float], noise: float, repeats: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    clean = cosines(SAMPLES, [truth])
    errors, inside = np.full((repeats, 3), np.inf), np.zeros((repeats, 3), bool)
    for index in range(repeats):
        found = find_cycles(clean + noise * rng.standard_normal(SAMPLES), most=1).cycles
        if found:
            for column, what in enumerate(("frequency", "amplitude", "phase")):
                errors[index, column] = getattr(found[0], what) - truth[column]
                low, high = found[0].interval(what)
                inside[index, column] = low <= truth[column] <= high
    return errors, inside


def false_alarms(context: Context) -> Result:
    """Noise is not taken for cycles, white or coloured."""
    repeats = 50 if context.quick else 300
    rng = context.rng(3)
    white = sum(bool(find_cycles(rng.standard_normal(300), most=1).cycles) for _ in range(repeats))
    walk = sum(bool(find_cycles(np.cumsum(rng.standard_normal(300)), most=1).cycles) for _ in range(repeats))
    peaks = _highest_peak(context)
    claims = [
        held(
            "noise has no cycles",
            f"{white} of {repeats} found in white noise, {walk} in random walks",
            f"at most {100 * ALARM_BAR:g} %",
            max(white, walk) <= max(ALARM_BAR * repeats, 1),
        ),
        Claim(
            "the highest peak of the spectrum is a cycle",
            f"white noise alone peaks at {peaks:.1f} × its mean power",
            "about 1 × without a cycle",
            "holds only when",
            "it is higher than noise would peak anywhere, which grows with the number of bins",
        ),
    ]
    return Result("", claims)


def _highest_peak(context: Context) -> float:
    rng = context.rng(4)
    power = [np.abs(np.fft.rfft(rng.standard_normal(SAMPLES)))[1:-1] ** 2 for _ in range(50)]
    return float(np.mean([each.max() / each.mean() for each in power]))
