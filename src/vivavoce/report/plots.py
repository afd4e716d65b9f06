"""What is plotted: curves and maps picked from a run, as plain data without any drawing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vivavoce.record.run import Run
from vivavoce.record.tracks import Floats, Series, Track
from vivavoce.report.build import longest_series
from vivavoce.report.figures import Curve, LinePlot, Plots
from vivavoce.report.maps import gradient_map, parameter_columns, parameter_names
from vivavoce.report.reduce import smoothed, thinned
from vivavoce.report.schema import FindingData, Report

POINTS_PER_CURVE = 1000  # two a pixel column of a wide page; a band of minimum and maximum doubles them
SMOOTHING_PARTS = 50  # the smoothed loss averages a fiftieth of the run
SMOOTHED_FROM = 250  # rows: fewer are read as they are
ROWS_SMOOTHED = 4_000  # rows that the mean is taken over: more would not be seen
CURVES_OF_FINDING = 3  # the one that the finding names, and the extremes
POINTS_PER_PARAMETER = 400
CURVES_IN_COLOUR = 6  # as many as can be told apart; the others are drawn in grey
CURVES_IN_GREY = 40
POINTS_PER_GREY_CURVE = 120
LOG_FROM_RATIO = 100.0  # values that span more than this are first shown on a logarithmic axis

# A guide, not a law. TheDeepChecker: log10 of mean |Δw| / |w| in [−4, −1].
USUAL_UPDATE_RATIO = (1e-4, 1e-1)


def select_plots(run: Run, report: Report) -> Plots:
    """The plots that the run has the data for."""
    found = (loss_plot(run), gradient_map(run), update_ratio_plot(run, report), learning_rate_plot(run))
    activations = (
        activation_plot(run, "activation_dead", "Dead units", "Units of a rectifying layer that no example activates."),
        activation_plot(run, "activation_saturated", "Saturated units", "Outputs at the flat ends of tanh or sigmoid."),
    )
    general = tuple(plot for plot in (*found, *activations) if plot is not None)
    by_finding = (finding_plot(run, report, index) for index in range(len(report["findings"])))
    return Plots(general, tuple(by_finding))


def loss_plot(run: Run) -> LinePlot | None:
    """Training loss, raw and smoothed, and validation loss."""
    curves = tuple(_loss_curves(run))
    if not curves:
        return None
    return LinePlot(
        "loss",
        "Loss",
        "The value given to backward(), and the mean loss of each validation pass.",
        "loss",
        curves,
        log=_wide(curves),
        both_scales=_positive(curves),
        marks=_nonfinite_marks(run.train_loss, "loss"),
    )


def _loss_curves(run: Run) -> Iterable[Curve]:
    raw = run.train_loss
    smooth = len(raw) >= SMOOTHED_FROM
    if len(raw):
        yield Curve("training, as recorded", thinned(raw, POINTS_PER_CURVE), 0, band=True, faint=smooth)
    if smooth:
        rows = thinned(raw, ROWS_SMOOTHED)
        mean = smoothed(rows, len(rows) // SMOOTHING_PARTS)
        yield Curve(f"training, mean of {len(raw) // SMOOTHING_PARTS:,} steps", thinned(mean, POINTS_PER_CURVE), 0)
    validation = longest_series(run, "val/loss", "loss")
    if len(validation):
        yield Curve("validation", thinned(validation, POINTS_PER_CURVE), 1)


def _nonfinite_marks(series: Series, what: str) -> tuple[tuple[int, str], ...]:
    step = series.first_nonfinite
    return () if step is None else ((step, f"{what} not finite from step {step:,}"),)


def learning_rate_plot(run: Run) -> LinePlot | None:
    """The learning rate of each parameter group; rows are recorded where it changes, so the last one holds to the end."""
    curves: list[Curve] = []
    for track in run.tracks("learning_rate"):
        for index, label in enumerate(track.columns):
            name = _optimizer_name(run, track) + (f", group {index}" if len(track.columns) > 1 else "")
            series = _held_to(track.column(label), run.steps - 1)
            curves.append(Curve(name, thinned(series, POINTS_PER_CURVE), len(curves), stairs=True))
    shown = tuple(curves[:CURVES_IN_COLOUR])
    if not any(len(curve.series) for curve in shown):
        return None
    return LinePlot("learning-rate", "Learning rate", "As the optimizer used it.", "", shown, log=_wide(shown))


def _optimizer_name(run: Run, track: Track) -> str:
    optimizer = run.optimizers.get(track.owner[1]) if track.owner else None
    if optimizer is None:
        return "optimizer"
    same = [other.id for other in run.optimizers.values() if other.class_name == optimizer.class_name]
    return optimizer.class_name + (f" ({same.index(optimizer.id) + 1})" if len(same) > 1 else "")


def _held_to(series: Series, last: int) -> Series:
    if not len(series) or series.steps[-1] >= last:
        return series
    counts, nonfinite = (np.append(values, values[-1]) for values in (series.counts, series.nonfinite))
    mean, low, high = (np.append(values, values[-1]) for values in (series.mean, series.minimum, series.maximum))
    return Series(np.append(series.steps, last), counts, mean, low, high, nonfinite)


def update_ratio_plot(run: Run, report: Report) -> LinePlot | None:
    """How far each step moves each parameter, beside the usual range."""
    names = parameter_names(run)
    every = {
        names.get(label, str(label)): track.column(label)
        for track in run.tracks("update_ratio")
        for label in track.columns
    }
    curves = _picked(every, _named_in_findings(report))
    if not curves:
        return None
    low, high = USUAL_UPDATE_RATIO
    return LinePlot(
        "update-ratio",
        "Update ratio",
        "Size of a step over the size of the parameter, ‖Δw‖ / ‖w‖. The shaded range is usual; it is a guide, not a law.",
        "‖Δw‖ / ‖w‖",
        curves,
        log=True,
        guide=(low, high, "usual"),
    )


def activation_plot(run: Run, signal: str, title: str, note: str) -> LinePlot | None:
    """A fraction of units of each module that has it."""
    names = {module.id: module.name for module in run.modules.values()}
    every = {
        str(names.get(int(label), label)): track.column(label)
        for track in run.tracks(signal)
        for label in track.columns
        if np.isfinite(track.column(label).mean).any()
    }
    curves = _picked(every, set())
    return LinePlot(signal.replace("_", "-"), title, note, "", curves, fraction=True) if curves else None


def _named_in_findings(report: Report) -> set[str]:
    return {name for finding in report["findings"] if (name := finding["where"]["parameter"])}


def _picked(every: dict[str, Series], wanted: set[str], limit: int = CURVES_IN_COLOUR) -> tuple[Curve, ...]:
    """A few curves in colour, those that findings name first and then the extremes; a sample of the others in grey."""
    level = {name: _level(series) for name, series in every.items()}
    ordered = sorted((name for name in every if np.isfinite(level[name])), key=lambda name: level[name])
    chosen = [name for name in ordered if name in wanted][:limit]
    ends = [ordered[i // 2] if i % 2 == 0 else ordered[-1 - i // 2] for i in range(len(ordered))]
    chosen += [name for name in ends if name not in chosen][: limit - len(chosen)]
    rest = [name for name in ordered if name not in chosen]
    sample = rest[:: max(1, -(-len(rest) // CURVES_IN_GREY))]
    grey = [Curve(name, thinned(every[name], POINTS_PER_GREY_CURVE), None) for name in sample]
    in_order = [name for name in every if name in chosen]
    colour = [Curve(name, thinned(every[name], POINTS_PER_PARAMETER), index) for index, name in enumerate(in_order)]
    return (*grey, *colour)


def _level(series: Series) -> float:
    values = series.mean[np.isfinite(series.mean)]
    return float(np.median(values)) if len(values) else float("nan")


def finding_plot(run: Run, report: Report, index: int) -> LinePlot | None:
    """The plot that shows a finding, with its steps shaded; None where none would help."""
    finding = report["findings"][index]
    kind = _PLOTS_OF_FINDINGS.get(finding["slug"])
    plot = None
    if kind == "gradient":
        plot = _gradient_plot(run, finding)
    elif kind == "loss":
        plot = loss_plot(run)
    elif kind in ("activation_dead", "activation_saturated"):
        plot = activation_plot(run, kind, kind.removeprefix("activation_").capitalize() + " units", "")
    elif kind == "update_ratio":
        plot = update_ratio_plot(run, report)
    return plot and _for_finding(plot, finding, index, run.steps - 1)


_PLOTS_OF_FINDINGS: dict[str, str] = {
    "exploding-gradients": "gradient",
    "vanishing-gradients": "gradient",
    "gradient-spikes": "gradient",
    "gradients-not-zeroed": "gradient",
    "non-finite": "loss",
    "guessing": "loss",
    "overfitting": "loss",
    "underfitting": "loss",
    "stopped-too-early": "loss",
    "stopped-too-late": "loss",
    "oscillating-loss": "loss",
    "learning-rate-too-high": "loss",
    "learning-rate-too-low": "update_ratio",
    "dead-units": "activation_dead",
    "saturated-units": "activation_saturated",
}


def _for_finding(plot: LinePlot, finding: FindingData, index: int, end: int) -> LinePlot:
    where = finding["where"]
    first, last = where["first_step"], where["last_step"]
    span = None if first is None else (first, end if last is None else last)
    note = "The shaded steps are those of the finding." if span else ""
    return replace(plot, key=f"finding-{index + 1}-{plot.key}", note=note, both_scales=False, span=span)


def _gradient_plot(run: Run, finding: FindingData) -> LinePlot | None:
    """The gradient norm of the parameter that the finding names, among the extremes of all."""
    names = parameter_names(run)
    wanted = finding["where"]["parameter"]
    every: dict[str, Series] = {}
    for track, label in parameter_columns(run):
        series = track.column(label)
        every[names.get(label, str(label))] = series.where(~(series.mean <= 0))
    curves = _picked(every, {wanted} if wanted else set(), CURVES_OF_FINDING)
    if not curves:
        return None
    marks = _nonfinite_marks(every[wanted], "gradient") if wanted in every else ()
    return LinePlot("gradient", "Gradient norm", "", "gradient norm", curves, log=True, marks=marks)


def _values(curves: Iterable[Curve]) -> Floats:
    parts = [values for curve in curves for values in (curve.series.minimum, curve.series.maximum)]
    values = np.concatenate(parts)
    return values[np.isfinite(values)]


def _positive(curves: Iterable[Curve]) -> bool:
    values = _values(curves)
    return bool(len(values) and values.min() > 0)


def _wide(curves: Iterable[Curve]) -> bool:
    values = _values(curves)
    return bool(len(values) and values.min() > 0 and values.max() / values.min() > LOG_FROM_RATIO)
