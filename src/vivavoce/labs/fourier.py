"""The lab of question 8: what a Fourier transform is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.figures import Figure, ImagePlot, Line, XYPlot
from vivavoce.labs.fourier_file import Signal, read
from vivavoce.labs.fourier_proof import bound, exactness, false_alarms, transform
from vivavoce.labs.lab import Claim, Context, Lab, LabError, Option, Result, Table, held
from vivavoce.measure.spectrum_cycles import Cycle, Cycles, find_cycles
from vivavoce.measure.spectrum_transform import spectrogram, spectrum, strongest
from vivavoce.report.words import number

Floats = NDArray[np.float64]

POINTS = 1_500  # of a spectrum in a plot: the highest of each range of frequencies
SHOWN = 600  # samples of the signal in a plot
SHORTEST_FRAME, LONGEST_FRAME, FRAMES = 32, 2_048, 32  # samples of a frame of the spectrogram; frames wanted
QUIETEST = 1e-6  # of the loudest: the floor of the spectrogram, −120 dB
MOST_REBUILT = 30  # frequencies in the plot of shares
WHITE = 1.96  # standard errors of the autocorrelation of white noise, 95 %


class Fourier(Lab):
    """Takes a signal apart into cycles, and says how far each can be trusted."""

    name = "fourier"
    question = "What is a Fourier transform?"
    textbook = (
        "It writes a signal as a sum of cycles, each with a frequency, an amplitude and a phase, and loses nothing: the "
        "inverse gives the signal back. Networks learn the slow cycles of a function before the fast ones."
    )
    input_help = "a WAV file, or a CSV file with a column of values, sampled evenly"
    options = (
        Option("column", "Column of the values. [default: the only one of numbers]", metavar="COLUMN"),
        Option("time", "Column of the times: numbers, or dates. [default: time, t, date …]", metavar="COLUMN"),
        Option("rate", "Samples a second, where there is no column of times.", float, None, "NUMBER"),
        Option("channel", "Channel of a sound: a number from 1, or mean.", str, "mean", "CHANNEL"),
        Option("cycles", "How many cycles are looked for at most.", int, 8, "N"),
        Option("strongest", "Rebuild the signal from this many frequencies.", int, 5, "K"),
        Option("start", "Where the excerpt begins, in seconds or the unit of the times.", float, 0.0, "TIME"),
        Option("length", "How long the excerpt is. [default: up to 262,144 samples]", float, None, "TIME"),
    )
    examples = (
        "viva lab fourier sound.wav",
        "viva lab fourier co2.csv --column ppm --time date --strongest 3",
    )

    def prove(self, context: Context) -> Result:
        """Known cycles, known noise, known data order, a known function to learn."""
        from vivavoce.labs.fourier_training import order_in_loss, slow_before_fast

        parts = [part(context) for part in (transform, exactness, bound, false_alarms, order_in_loss, slow_before_fast)]
        answer = (
            "It is a change of view that loses nothing: every signal is a sum of cycles. With a least-squares fit behind it, "
            "frequency, amplitude and phase come out as exactly as the noise allows. It also shows in the loss whether the "
            "data were shuffled, and which frequencies a network has not learned."
        )
        return Result.of_parts(answer, parts)

    def apply(self, source: str, context: Context) -> Result:
        """The cycles of a file with intervals, its spectrum and spectrogram, and what the strongest rebuild."""
        most, count = context.options["cycles"], context.options["strongest"]
        if most < 0 or count < 0:
            raise LabError(f"--cycles and --strongest must not be negative, got {most} and {count}")
        signal = read(source, context)
        with context.progress.task("fitting cycles", most) as advance:
            found = find_cycles(signal.samples, signal.rate, most, advance)
        model = _model(signal, found)
        filled = np.where(np.isfinite(signal.samples), signal.samples, model)  # the fit bridges the gaps
        rebuilt, share = strongest(filled, count)
        figures = [*_spectra(signal, filled, found), _rebuilt(signal, model, rebuilt, count), _shares(filled)]
        data = {
            "rate": signal.rate,
            "unit": signal.unit,
            "samples": len(signal.samples),
            "cycles": [_cycle_data(cycle) for cycle in found.cycles],
            "offset": found.offset,
            "slope": found.slope,
            "noise": found.noise,
            "strongest": {"count": count, "share": share, "signal": rebuilt[:SHOWN]},
        }
        tables = [_cycle_table(found, signal.unit)] if found.cycles else []
        return Result(_answer(signal, found, count, share), _claims(signal, found), tables, figures, signal.notes, data)


def _model(signal: Signal, found: Cycles) -> Floats:
    """The fitted cycles on their line, shape (n,)."""
    t = np.arange(len(signal.samples)) / signal.rate
    model: Floats = found.offset + found.slope * t
    for cycle in found.cycles:
        model = model + cycle.amplitude * np.cos(2 * np.pi * cycle.frequency * t + cycle.phase)
    return model


def _answer(signal: Signal, found: Cycles, count: int, share: float) -> str:
    if not found.cycles:
        return f"{signal.name}: no cycle stands out from the noise. {_share(count, share)}"
    parts = [f"{_place(cycle, signal.unit)} (amplitude {number(cycle.amplitude)})" for cycle in found.cycles[:3]]
    more = f" and {len(found.cycles) - 3} more" if len(found.cycles) > 3 else ""
    noun = "cycle" if len(found.cycles) == 1 else "cycles"
    return f"{signal.name} has {len(found.cycles)} {noun}: {', '.join(parts)}{more}. {_share(count, share)}"


def _place(cycle: Cycle, unit: str) -> str:
    """A frequency in hertz where time is in seconds, else a period; to six digits at most."""
    if unit == "s":
        return f"{cycle.frequency:.{_digits(cycle.frequency, cycle.frequency_error)}g} Hz"
    error = cycle.frequency_error / cycle.frequency * cycle.period
    return f"every {cycle.period:.{_digits(cycle.period, error)}g} {unit}s".replace("ss", "s")


def _digits(value: float, error: float) -> int:
    """Significant digits that an error leaves."""
    sure = 6.0 if error <= 0 else np.floor(np.log10(abs(value) / error)) + 1
    return int(np.clip(sure, 2, 6))


def _share(count: int, share: float) -> str:
    return f"The {count} strongest frequencies of the transform hold {100 * share:.1f} % of the variance."


def _claims(signal: Signal, found: Cycles) -> list[Claim]:
    rest = found.residual[np.isfinite(found.residual)]
    span = len(signal.samples) / signal.rate
    echo = float(rest[1:] @ rest[:-1] / (rest @ rest)) if rest.any() else 0.0
    limit = WHITE / np.sqrt(len(rest))
    claims = [
        held("it repeats in cycles", f"{len(found.cycles)} found", "at least 1", bool(found.cycles)),
        held(
            "cycles and a line are all there is",
            f"autocorrelation of the rest {echo:.3f}",
            f"between ±{limit:.3f}",
            abs(echo) <= limit,
            "Else more is in it: more cycles, coloured noise, or cycles that change.",
        ),
    ]
    if found.cycles:
        slowest = min(found.cycles, key=lambda cycle: cycle.frequency)
        periods = slowest.frequency * span
        claims.append(
            held(
                "it is long enough for its slowest cycle",
                f"{number(periods)} periods",
                "at least 2",
                periods >= 2,
            )
        )
    return claims


def _cycle_table(found: Cycles, unit: str) -> Table:
    rows = [
        [
            _with_interval(cycle, "frequency"),
            number(cycle.period),
            _with_interval(cycle, "amplitude"),
            _with_interval(cycle, "phase"),
            f"{cycle.p:.1g}",
        ]
        for cycle in found.cycles
    ]
    heads = [f"frequency (per {unit})", f"period ({unit})", "amplitude", "phase at the start (rad)", "chance of noise"]
    return Table("Cycles, strongest first, with 95 % intervals", heads, rows)


def _with_interval(cycle: Cycle, what: str) -> str:
    """A value to the digits that its error leaves, and half of its interval."""
    low, high = cycle.interval(what)
    half, value = (high - low) / 2, float(getattr(cycle, what))
    if not half > 0:
        return number(value)
    digits = max(int(np.ceil(-np.log10(half))) + 1, 0)
    return f"{value:.{min(digits, 15)}f} ± {number(float(f'{half:.2g}'))}"


def _cycle_data(cycle: Cycle) -> dict[str, object]:
    data: dict[str, object] = {"period": cycle.period, "p": cycle.p}
    for what in ("frequency", "amplitude", "phase"):
        data[what] = getattr(cycle, what)
        data[f"{what}_interval"] = list(cycle.interval(what))
    return data


def _spectra(signal: Signal, filled: Floats, found: Cycles) -> list[Figure]:
    hertz = "Hz" if signal.unit == "s" else f"cycles per {signal.unit}"
    whole = spectrum(filled - filled.mean(), signal.rate, "hann")
    x, y = _highest(whole.frequencies[1:], whole.amplitude[1:])
    marks = [(cycle.frequency, number(cycle.frequency)) for cycle in found.cycles[:5]]
    note = "Amplitudes under a Hann window; the marks are the fitted cycles."
    across, line = f"frequency, {hertz}", Line(signal.name, x, y)
    figures: list[Figure] = [
        XYPlot("spectrum", "Amplitude spectrum", note, across, "amplitude", [line], log_y=True, marks=marks)
    ]
    if signal.averaged is not None:
        x, y = _highest(signal.averaged[0][1:], signal.averaged[1][1:])
        note = "The mean over frames of the whole file, however long."
        line = Line("power density", x, y)
        figures.append(XYPlot("density", "Averaged spectrum", note, across, "power density", [line], log_y=True))
    length = min(max(2 ** int(np.log2(max(len(filled) / FRAMES, 2))), SHORTEST_FRAME), LONGEST_FRAME)
    if len(filled) >= 4 * length:
        figures.append(_spectrogram(signal, filled, length, hertz))
    return figures


def _spectrogram(signal: Signal, filled: Floats, length: int, hertz: str) -> ImagePlot:
    frames = spectrogram(filled - filled.mean(), signal.rate, length)
    decibels = 20 * np.log10(np.maximum(frames.amplitude, QUIETEST * (frames.amplitude.max() or 1.0)))
    return ImagePlot(
        "spectrogram",
        "Spectrogram",
        f"Each column is the spectrum of {length} samples.",
        f"time, {signal.unit}",
        f"frequency, {hertz}",
        "dB",
        decibels,
        (float(frames.times[0]), float(frames.times[-1])),
        (0.0, float(frames.frequencies[-1])),
    )


def _highest(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most `POINTS` points: the highest of each range."""
    if len(x) <= POINTS:
        return x, y
    starts = np.unique(np.linspace(0, len(x), POINTS + 1).astype(int)[:-1])
    tops = [int(a) + int(y[a:b].argmax()) for a, b in zip(starts, [*starts[1:], len(x)], strict=True)]
    return x[tops], y[tops]


def _rebuilt(signal: Signal, model: Floats, rebuilt: Floats, count: int) -> XYPlot:
    t = np.arange(min(SHOWN, len(model))) / signal.rate
    parts = {"signal": signal.samples, "fitted cycles": model, f"{count} strongest frequencies": rebuilt}
    lines = [Line(name, t, part[: len(t)]) for name, part in parts.items()]
    note = (
        f"The first {len(t)} samples, what the fitted cycles make of them, and what the {count} strongest frequencies of "
        "the transform do, which a cycle between two bins spreads over many."
    )
    return XYPlot("rebuilt", "Rebuilt from the strongest", note, f"time, {signal.unit}", signal.name, lines)


def _shares(filled: Floats) -> XYPlot:
    counts = np.arange(0, min(MOST_REBUILT, len(filled) // 2) + 1)
    shares = np.array([strongest(filled, int(count))[1] for count in counts])
    note = "How much of the variance the strongest frequencies of the transform hold."
    line = Line("share", counts.astype(np.float64), shares)
    return XYPlot("shares", "How few frequencies are enough", note, "frequencies", "share of the variance", [line])
