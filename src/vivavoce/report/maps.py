"""The gradient map, picked from a run."""

from __future__ import annotations

import numpy as np

from vivavoce.record.run import Run
from vivavoce.record.tracks import Integers, Track
from vivavoce.report.figures import MapPlot, MapRow
from vivavoce.report.reduce import bucketed

MAP_COLUMNS = 200
MAP_ROWS = 100  # with the columns at most 20,000 cells


def parameter_names(run: Run) -> dict[str | int, str]:
    """Names by id, with the model in front where there are several."""
    several = len(run.models) > 1
    return {
        parameter.id: f"{run.models[parameter.model].name}: {parameter.name}"
        if several and parameter.model in run.models
        else parameter.name
        for parameter in run.parameters.values()
    }


def gradient_map(run: Run) -> MapPlot | None:
    """The norm of each parameter's gradient over the steps; neighbours share a row in a network of very many."""
    columns = parameter_columns(run)
    if not columns:
        return None
    first = min(int(track.steps[0]) for track, _ in columns)
    last = max(int(track.steps[-1]) for track, _ in columns)
    width = min(MAP_COLUMNS, last - first + 1)
    share = -(-len(columns) // MAP_ROWS)
    names = parameter_names(run)
    rows = tuple(
        _map_row(columns[start : start + share], names, first, last, width) for start in range(0, len(columns), share)
    )
    edges = first + -(-np.arange(width) * (last - first + 1) // width)
    note = "Each row is a parameter, each column a range of steps; the colour is the largest gradient norm in it. "
    note += "Between recorded steps the last colour holds."
    if share > 1:
        note += f" Up to {share} neighbouring parameters share a row."
    return MapPlot("gradient-map", "Gradient map", note, "gradient norm", rows, edges, last)


def parameter_columns(run: Run) -> list[tuple[Track, str | int]]:
    """The tracks of gradient norms and the id of a parameter, one pair a parameter and optimizer."""
    tracks = [track for track in run.tracks("gradient_norm") if len(track)]
    return [(track, label) for track in tracks for label in track.columns]


def _map_row(
    members: list[tuple[Track, str | int]], names: dict[str | int, str], first: int, last: int, width: int
) -> MapRow:
    values = np.full(width, np.nan)
    bad = np.zeros(width, dtype=np.bool_)
    failures = []
    for track, label in members:
        series = track.column(label)
        numbers, reduced = bucketed(series, first, last, width)
        held = _held_between(numbers, width)
        recorded = held >= 0
        values[recorded] = np.fmax(values[recorded], reduced.maximum[held[recorded]])
        bad[recorded] |= reduced.nonfinite[held[recorded]] > 0
        failures += [series.first_nonfinite] if series.first_nonfinite is not None else []
    name = names.get(members[0][1], str(members[0][1])) + (f" + {len(members) - 1}" if len(members) > 1 else "")
    return MapRow(name, values, bad, min(failures, default=None))


def _held_between(numbers: Integers, width: int) -> Integers:
    """For each column the row recorded in it, or else the last one before it; −1 before the first and after the last."""
    held = np.searchsorted(numbers, np.arange(width), side="right") - 1
    held[numbers[-1] + 1 :] = -1
    return held.astype(np.int64)
