"""The reduction of long signals against a naive computation on the raw rows."""

from __future__ import annotations

import numpy as np
import pytest

from vivavoce.record.blocks import Block, join, merge, nonfinite_or_zeros
from vivavoce.record.history import MAX_PINNED, MAX_ROWS, MIN_ROWS, PART_VALUES, History, Limits, limits_for

SMALL = Limits(rows=24, block=6)


def raw_rows(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Random rows of very different sizes, with NaN, infinities and spikes in some."""
    values = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-8, 9, (rows, 1))
    for bad in (np.nan, np.inf, -np.inf):
        if rng.random() < 0.5:
            values[rng.random((rows, columns)) < rng.choice([0.002, 0.3])] = bad
    values[rng.integers(rows), rng.integers(columns)] = 1e300
    return values


def recorded(values: np.ndarray, steps: np.ndarray, rng: np.random.Generator, limits: Limits) -> History:
    """A history that got the rows in batches of random size."""
    history = History(values.shape[1], limits)
    first = 0
    while first < len(values):
        last = first + int(rng.integers(1, rng.choice([2, 10, 200])))
        history.add(steps[first:last].copy(), values[first:last].copy())
        first = last
    return history


@pytest.mark.parametrize("seed", range(80))
def test_every_row_summarises_what_was_recorded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = raw_rows(rng, int(rng.integers(1, 3000)), int(rng.integers(1, 6)))
    steps = np.sort(rng.integers(0, len(values), len(values)))
    block = join(recorded(values, steps, rng, SMALL).blocks())
    bins = block.as_bins()
    ends = np.cumsum(bins.counts)
    assert ends[-1] == len(values)
    for row, (end, count) in enumerate(zip(ends, bins.counts, strict=True)):
        behind = values[end - count : end]
        finite = np.isfinite(behind)
        assert block.steps[row] == steps[end - 1]
        assert nonfinite_or_zeros(bins)[row].tolist() == (~finite).sum(axis=0).tolist()
        for column in range(values.shape[1]):
            kept = behind[finite[:, column], column] if count > 1 else behind[:, column]
            expected = (kept.min(), kept.max()) if len(kept) else (np.nan, np.nan)
            np.testing.assert_array_equal((bins.minimum[row, column], bins.maximum[row, column]), expected)
            mean = kept.mean() if len(kept) else np.nan
            tolerance = 1e-12 * np.abs(kept).max(initial=0.0) if count > 1 else 0.0
            np.testing.assert_allclose(bins.mean[row, column], mean, rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", range(20))
def test_start_and_end_are_kept_as_recorded_and_the_middle_is_bounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = raw_rows(rng, int(rng.integers(500, 5000)), 2)
    history = recorded(values, np.arange(len(values)), rng, SMALL)
    block = join(history.blocks())
    counts = block.as_bins().counts
    assert (counts[: SMALL.rows] == 1).all()
    assert (counts[-SMALL.rows :] == 1).all()
    np.testing.assert_array_equal(block.mean[: SMALL.rows], values[: SMALL.rows])
    np.testing.assert_array_equal(block.mean[-SMALL.rows :], values[-SMALL.rows :])
    assert len(block) <= 4 * SMALL.rows + SMALL.block
    assert (np.diff([b.start for b in history.blocks()]) > 0).all()
    for one, following in zip(history.blocks(), history.blocks()[1:], strict=False):
        assert one.start + one.recorded == following.start


def test_the_first_bad_row_of_each_column_stays_exact() -> None:
    values = np.ones((4000, 3))
    values[1234, 1] = np.nan
    values[1300:, 1] = np.nan
    values[2001, 0] = -np.inf
    history = History(3, SMALL)
    for first in range(0, 4000, 50):
        history.add(np.arange(first, first + 50), values[first : first + 50])
    block = join(history.blocks())
    bins = block.as_bins()
    for step in (1234, 2001):
        row = int(np.flatnonzero(block.steps == step)[0])
        assert bins.counts[row] == 1
        np.testing.assert_array_equal(block.mean[row], values[step])
    assert int(block.steps[np.flatnonzero(nonfinite_or_zeros(bins).any(axis=1))[0]]) == 1234


def test_rows_kept_apart_are_limited() -> None:
    columns = 4 * MAX_PINNED
    values = np.zeros((5000, columns))
    values[np.arange(columns) * 70 + 100, np.arange(columns)] = np.nan
    history = History(columns, SMALL)
    history.add(np.arange(5000), values)
    history.add(np.arange(5000, 5100), np.zeros((100, columns)))
    alone = 2 * MAX_PINNED + 1  # each with a shortened bin before it
    assert sum(len(block) for block in history.blocks()) <= 4 * SMALL.rows + SMALL.block + alone


def test_a_spike_survives_any_number_of_steps() -> None:
    history = History(1, SMALL)
    for batch in range(200):
        values = np.zeros((1000, 1))
        if batch == 77:
            values[500] = 1e12
        history.add(np.arange(batch * 1000, batch * 1000 + 1000), values)
    block = join(history.blocks())
    row = int(block.as_bins().maximum.argmax())
    assert block.as_bins().maximum[row, 0] == 1e12
    assert block.steps[row - 1] < 77_500 <= block.steps[row]


def test_huge_values_do_not_overflow_the_mean() -> None:
    block = Block(0, np.arange(4), np.full((4, 1), 1.5e308))
    assert merge(block, np.array([0])).mean.tolist() == [[1.5e308]]


@pytest.mark.parametrize("columns", [1, 300, 5000, 10**6])
def test_memory_is_bounded_whatever_the_shape(columns: int) -> None:
    limits = limits_for(columns)
    assert MIN_ROWS <= limits.rows <= MAX_ROWS
    assert limits.rows * columns <= max(PART_VALUES, MIN_ROWS * columns)
    assert 0 < limits.block <= limits.rows


def test_memory_does_not_grow_with_the_steps() -> None:
    def numbers(history: History) -> int:
        arrays = [a for b in history.blocks() for a in (b.mean, *(b.bins or ())) if a is not None]
        owners = {id(array if array.base is None else array.base): array for array in arrays}
        return sum((a if a.base is None else a.base).size for a in owners.values())

    history, sizes = History(7, SMALL), []
    values = np.random.default_rng(0).standard_normal((1000, 7))
    for batch in range(300):
        history.add(np.arange(batch * 1000, batch * 1000 + 1000), values)
        sizes.append(numbers(history))
    bound = 7 * (4 * (SMALL.rows + SMALL.block) + 3 * SMALL.rows + 2 * SMALL.block)
    assert max(sizes) <= bound


def test_blocks_taken_before_do_not_change() -> None:
    history = History(2, SMALL)
    history.add(np.arange(100), np.ones((100, 2)))
    before = history.blocks()
    copies = [block.mean.copy() for block in before]
    for batch in range(50):
        history.add(np.arange(100) + 100 * (batch + 1), np.full((100, 2), float(batch)))
    for block, copy in zip(before, copies, strict=True):
        np.testing.assert_array_equal(block.mean, copy)
