import io
import math

import numpy as np
import pytest
from PIL import Image

from tests.report.samples import EXPLODING, NAMES, NOT_FINITE_FROM, SECOND, STEPS, exploding_run, report_of
from vivavoce.record.entities import Loss, Parameter
from vivavoce.report.axes import step_axis, value_axis
from vivavoce.report.figures import LinePlot, MapPlot
from vivavoce.report.maps import MAP_ROWS, gradient_map
from vivavoce.report.plots import loss_plot, select_plots
from vivavoce.report.png import encode
from vivavoce.report.reduce import bucketed, smoothed, thinned
from vivavoce.testing.runs import make_run, make_track


def series_of(values, steps=None):
    return make_track("x", None, ["x"], range(len(values)) if steps is None else steps, values).column("x")


def test_reducing_keeps_every_spike_and_counts_every_nan():
    values = np.random.default_rng(0).normal(size=10_000)
    values[1234], values[5678], values[9999] = 1e9, -1e9, np.nan
    reduced = thinned(series_of(values), 100)
    assert len(reduced) == 100
    assert (reduced.maximum.max(), reduced.minimum.min()) == (1e9, -1e9)
    assert (reduced.nonfinite.sum(), reduced.counts.sum()) == (1, 10_000)
    assert reduced.steps[-1] == 9999


def test_the_mean_of_reduced_rows_is_weighted_by_what_they_stand_for():
    series = series_of([1.0, 4.0])
    weighted = type(series)(
        series.steps, np.array([3, 1]), *(getattr(series, n) for n in ("mean", "minimum", "maximum", "nonfinite"))
    )
    assert bucketed(weighted, 0, 1, 1)[1].mean.tolist() == [pytest.approx(7 / 4)]


def test_ranges_without_rows_are_left_out():
    numbers, reduced = bucketed(series_of([1.0, 2.0], steps=[0, 99]), 0, 99, 10)
    assert numbers.tolist() == [0, 9]
    assert reduced.mean.tolist() == [1.0, 2.0]


def test_reducing_nothing_gives_nothing():
    assert len(bucketed(series_of([]), 0, 10, 5)[1]) == 0


def test_smoothing_is_a_trailing_mean_that_leaves_gaps():
    values = [1.0, 3.0, np.nan, 5.0, 1e200, 2.0, 4.0]
    result = smoothed(series_of(values), 2).mean
    np.testing.assert_allclose(result[[0, 1, 3, 6]], [1.0, 2.0, 5.0, 3.0])
    assert math.isnan(result[2])


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-3.0, 7.0), (1e-9, 2e-9), (5.0, 5.0), (0.0, 0.0), (-1e308, 1e308)]
)
def test_linear_axes_hold_their_values_and_have_ticks(low, high):
    axis = value_axis(low, high, log=False)
    assert 0 <= axis.at(low) <= axis.at(high) <= 1
    assert 2 <= len(axis.ticks) <= 12
    assert all(0 <= axis.at(tick) <= 1 for tick in axis.ticks)


@pytest.mark.parametrize(("low", "high"), [(1e-3, 1e3), (1e-30, 1e30), (0.5, 0.6), (2.0, 2.0), (1e-308, 1e308)])
def test_logarithmic_axes_hold_their_values_and_have_ticks(low, high):
    axis = value_axis(low, high, log=True)
    assert 0 <= axis.at(low) <= axis.at(high) <= 1
    assert 2 <= len(axis.ticks) <= 12


def test_a_logarithmic_axis_shows_neither_zero_nor_less():
    axis = value_axis(0.1, 10.0, log=True)
    assert np.isnan(axis.position(np.array([0.0, -1.0]))).all()
    assert axis.at(1.0) == pytest.approx(0.5)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 0), (7, 7), (0, 1_000_000), (123, 456)])
def test_step_axes_are_labelled_at_whole_steps(first, last):
    axis = step_axis(first, last)
    assert all(tick == int(tick) and first <= tick <= max(last, first + 1) for tick in axis.ticks)
    assert 1 <= len(axis.ticks) <= 10


def test_a_png_is_what_it_was_made_of():
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = [(i, 2 * i, 255 - i) for i in range(12)]
    image = Image.open(io.BytesIO(encode(indices, palette, transparent=5)))
    pixels = np.asarray(image.convert("RGBA"))
    expected = np.array(palette)[indices]
    np.testing.assert_array_equal(pixels[..., :3], expected)
    assert pixels[1, 1, 3] == 0
    assert (pixels[..., 3] == 255).sum() == 11


def test_the_gradient_map_marks_the_first_nan():
    plot = gradient_map(exploding_run())
    assert [row.name for row in plot.rows] == NAMES
    assert {row.first_nonfinite for row in plot.rows} == {NOT_FINITE_FROM}
    column = int(np.flatnonzero(plot.rows[0].nonfinite)[0])
    following = plot.edges[column + 1] if column + 1 < len(plot.edges) else STEPS
    assert plot.edges[column] <= NOT_FINITE_FROM < following


def test_the_gradient_map_of_a_huge_network_stays_small():
    count = 5_000
    parameters = [Parameter(id=i, model=None, name=f"p{i}", shape=(1,), dtype="float32") for i in range(count)]
    values = np.ones((400, count))
    values[200, 4321] = 77.0
    run = make_run(
        entities=parameters, signals={("gradient_norm", ("optimizer", 0)): (range(count), range(400), values)}
    )
    plot = gradient_map(run)
    assert len(plot.rows) <= MAP_ROWS
    assert len(plot.rows) * len(plot.edges) <= 20_000
    assert max(np.nanmax(row.values) for row in plot.rows) == 77.0


def test_between_sampled_steps_the_map_holds_and_outside_it_is_empty():
    steps = [10, 20, 40]
    run = make_run(
        signals={
            ("gradient_norm", ("optimizer", 0)): ([0], range(50), np.ones((50, 1))),
            ("gradient_norm", ("optimizer", 1)): ([1], steps, [[1.0], [-1.0], [3.0]]),
        }
    )
    values = gradient_map(run).rows[1].values
    assert np.isnan(values[:10]).all()
    assert values[10:20].tolist() == [1.0] * 10
    assert values[20:40].tolist() == [-1.0] * 20
    assert np.isnan(values[41:]).all()


def test_a_run_without_signals_has_no_plots():
    plots = select_plots(make_run(), report_of(outcome="no-training", run=make_run()))
    assert plots.general == ()


def test_the_loss_plot_keeps_a_spike_in_a_long_run():
    loss = np.ones(200_000)
    loss[123_456] = 50.0
    run = make_run(
        entities=[Loss(id=0, source="backward")],
        signals={("train/loss", ("loss", 0)): (["loss"], range(len(loss)), loss)},
    )
    raw = loss_plot(run).curves[0]
    assert raw.series.maximum.max() == 50.0
    assert len(raw.series) <= 1000


def test_findings_get_their_plot_and_those_without_get_none():
    run = exploding_run()
    report = report_of(EXPLODING, SECOND.with_(slug="bad-input"), run=run)
    first, second = select_plots(run, report).by_finding
    assert isinstance(first, LinePlot)
    assert first.span == (210, 274)
    assert any(curve.name == "rnn.weight_hh_l0" for curve in first.curves)
    assert second is None


def test_every_general_plot_is_there():
    run = exploding_run()
    plots = select_plots(run, report_of(EXPLODING, run=run))
    assert [plot.key for plot in plots.general] == [
        "loss",
        "gradient-map",
        "update-ratio",
        "learning-rate",
        "activation-dead",
    ]
    assert isinstance(plots.general[1], MapPlot)


def test_a_learning_rate_that_never_changes_holds_to_the_end():
    plots = select_plots(exploding_run(), report_of(EXPLODING))
    rate = plots.general[3].curves[0].series
    assert rate.steps.tolist() == [0, STEPS - 1]
    assert rate.mean.tolist() == [0.01, 0.01]
