"""Blocks of rows: what signals are made of, in memory and in the file. A block never changes once it is made."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vivavoce.record.tracks import Floats, Integers

_ids = itertools.count(1)


class Bins(NamedTuple):
    """The five arrays of a track: `counts` (n,), the others (n, k). `nonfinite` None stands for zeros."""

    counts: Integers
    mean: Floats
    minimum: Floats
    maximum: Floats
    nonfinite: Integers | None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of one signal.

    A raw block holds the rows as they were recorded, in `mean`; its `bins` are None. Otherwise each row is a bin that
    stands for `bins.counts` recorded rows, as `Track` explains. `start` is the number of rows recorded before the
    first one, `steps` (n,) the last step of each row.
    """

    start: int
    steps: Integers
    mean: Floats
    bins: Bins | None = None
    id: int = field(default_factory=lambda: next(_ids))

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def recorded(self) -> int:
        """The number of recorded rows that the block stands for."""
        return len(self.steps) if self.bins is None else int(self.bins.counts.sum())

    @property
    def width(self) -> int:
        """The most recorded rows behind any row; 1 for a raw block."""
        return 1 if self.bins is None else int(self.bins.counts.max(initial=1))

    def as_bins(self) -> Bins:
        """The five arrays, whether raw or not."""
        if self.bins is not None:
            return self.bins
        finite = np.isfinite(self.mean)
        nonfinite = None if finite.all() else (~finite).astype(np.int64)
        return Bins(np.ones(len(self.steps), np.int64), self.mean, self.mean, self.mean, nonfinite)


def join(blocks: Sequence[Block]) -> Block:
    """One block of all the rows of adjacent blocks (at least one)."""
    if len(blocks) == 1:
        return blocks[0]
    steps = np.concatenate([block.steps for block in blocks])
    if all(block.bins is None for block in blocks):
        return Block(blocks[0].start, steps, np.concatenate([block.mean for block in blocks]))
    counts, mean, minimum, maximum, nonfinite = zip(*(block.as_bins() for block in blocks), strict=True)
    bins = Bins(
        np.concatenate(counts),
        np.concatenate(mean),
        np.concatenate(minimum),
        np.concatenate(maximum),
        None
        if all(bad is None for bad in nonfinite)
        else np.concatenate([nonfinite_or_zeros(block.as_bins()) for block in blocks]),
    )
    return Block(blocks[0].start, steps, bins.mean, bins)


def nonfinite_or_zeros(bins: Bins) -> Integers:
    """How many recorded values of each row and column were not finite, (n, k)."""
    return np.zeros(bins.mean.shape, np.int64) if bins.nonfinite is None else bins.nonfinite


def split(block: Block, rows: int) -> list[Block]:
    """The block in pieces of `rows` rows, the last one shorter. Pieces own their memory."""
    if len(block) <= rows:
        return [block]
    return [_piece(block, slice(first, first + rows)) for first in range(0, len(block), rows)]


def _piece(block: Block, rows: slice) -> Block:
    steps = block.steps[rows].copy()
    if block.bins is None:
        return Block(block.start + rows.start, steps, block.mean[rows].copy())
    counts, mean, minimum, maximum, nonfinite = block.bins
    bins = Bins(
        counts[rows].copy(),
        mean[rows].copy(),
        minimum[rows].copy(),
        maximum[rows].copy(),
        None if nonfinite is None else nonfinite[rows].copy(),
    )
    return Block(block.start + int(block.bins.counts[: rows.start].sum()), steps, bins.mean, bins)


def merge(block: Block, firsts: Integers) -> Block:
    """The block with rows merged: group i begins at row `firsts[i]` and ends before row `firsts[i + 1]`.

    The mean is over finite values, weighted by how many each row stands for, without overflow. A group of one row is
    kept bit for bit. `firsts` (g,) increases strictly from 0.
    """
    bins = block.as_bins()
    sizes = np.diff(firsts, append=len(block))
    merged = _merge_finite(bins, firsts, sizes) if bins.nonfinite is None else _merge_any(bins, firsts, sizes)
    np.clip(merged.mean, merged.minimum, merged.maximum, out=merged.mean)  # rounding must not lead out of the range
    alone = sizes == 1
    for new, old in ((merged.mean, bins.mean), (merged.minimum, bins.minimum), (merged.maximum, bins.maximum)):
        new[alone] = old[firsts[alone]]
    return Block(block.start, block.steps[firsts + sizes - 1], merged.mean, merged)


def _merge_finite(bins: Bins, firsts: Integers, sizes: Integers) -> Bins:
    counts = np.add.reduceat(bins.counts, firsts)
    weights = bins.counts / np.repeat(counts, sizes)
    return Bins(
        counts,
        np.add.reduceat(bins.mean * weights[:, None], firsts, axis=0),
        np.minimum.reduceat(bins.minimum, firsts, axis=0),
        np.maximum.reduceat(bins.maximum, firsts, axis=0),
        None,
    )


def _merge_any(bins: Bins, firsts: Integers, sizes: Integers) -> Bins:
    bad = nonfinite_or_zeros(bins)
    finite = bins.counts[:, None] - bad
    total = np.add.reduceat(finite, firsts, axis=0)
    weights = finite / np.repeat(np.maximum(total, 1), sizes, axis=0)
    some = finite > 0
    sums = np.add.reduceat(np.where(some, bins.mean, 0.0) * weights, firsts, axis=0)
    return Bins(
        np.add.reduceat(bins.counts, firsts),
        np.where(total > 0, sums, np.nan),
        np.fmin.reduceat(np.where(some, bins.minimum, np.nan), firsts, axis=0),
        np.fmax.reduceat(np.where(some, bins.maximum, np.nan), firsts, axis=0),
        np.add.reduceat(bad, firsts, axis=0),
    )


def regroup(block: Block, width: int, alone: Iterable[int]) -> Block:
    """Merge neighbours, from the first row on, while they stand for at most `width` recorded rows.

    `alone` holds the positions (numbers of rows recorded before) of rows that stay unmerged.
    """
    counts = np.ones(len(block), np.int64) if block.bins is None else block.bins.counts
    ends = np.cumsum(counts)
    lonely = set(alone)
    firsts, size, closed = [], 0, True
    for row, (count, end) in enumerate(zip(counts.tolist(), ends.tolist(), strict=True)):
        single = block.start + end - count in lonely
        if closed or single or size + count > width:
            firsts.append(row)
            size = 0
        size += count
        closed = single
    if len(firsts) == len(block):
        return block
    return merge(block, np.array(firsts, dtype=np.int64))
