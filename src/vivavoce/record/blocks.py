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
    """The five arrays of a track: `counts` (n,), the others (n, k)."""

    counts: Integers
    mean: Floats
    minimum: Floats
    maximum: Floats
    nonfinite: Integers


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
        nonfinite = (~np.isfinite(self.mean)).astype(np.int64)
        return Bins(np.ones(len(self.steps), np.int64), self.mean, self.mean, self.mean, nonfinite)


def join(blocks: Sequence[Block]) -> Block:
    """One block of all the rows of adjacent blocks (at least one)."""
    if len(blocks) == 1:
        return blocks[0]
    steps = np.concatenate([block.steps for block in blocks])
    if all(block.bins is None for block in blocks):
        return Block(blocks[0].start, steps, np.concatenate([block.mean for block in blocks]))
    parts = [block.as_bins() for block in blocks]
    bins = Bins(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return Block(blocks[0].start, steps, bins.mean, bins)


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
        counts[rows].copy(), mean[rows].copy(), minimum[rows].copy(), maximum[rows].copy(), nonfinite[rows].copy()
    )
    return Block(block.start + int(block.bins.counts[: rows.start].sum()), steps, bins.mean, bins)


def merge(block: Block, firsts: Integers) -> Block:
    """The block with rows merged: group i begins at row `firsts[i]` and ends before row `firsts[i + 1]`.

    The mean is over finite values, weighted by how many each row stands for, without overflow. A group of one row is
    kept bit for bit. `firsts` (g,) increases strictly from 0.
    """
    counts, mean, minimum, maximum, nonfinite = block.as_bins()
    sizes = np.diff(firsts, append=len(block))
    finite = counts[:, None] - nonfinite
    total = np.add.reduceat(finite, firsts, axis=0)
    weights = finite / np.repeat(np.maximum(total, 1), sizes, axis=0)
    if finite.all():
        low = np.minimum.reduceat(minimum, firsts, axis=0)
        high = np.maximum.reduceat(maximum, firsts, axis=0)
        middle = np.add.reduceat(mean * weights, firsts, axis=0)
    else:
        some = finite > 0
        low = np.fmin.reduceat(np.where(some, minimum, np.nan), firsts, axis=0)
        high = np.fmax.reduceat(np.where(some, maximum, np.nan), firsts, axis=0)
        middle = np.add.reduceat(np.where(some, mean, 0.0) * weights, firsts, axis=0)
    middle = np.minimum(
        np.maximum(middle, low), high
    )  # rounding must not lead out of the range; NaN where none is finite
    alone = sizes == 1
    for merged, original in ((low, minimum), (high, maximum), (middle, mean)):
        merged[alone] = original[firsts[alone]]
    bins = Bins(np.add.reduceat(counts, firsts), middle, low, high, np.add.reduceat(nonfinite, firsts, axis=0))
    return Block(block.start, block.steps[firsts + sizes - 1], middle, bins)


def regroup(block: Block, width: int, alone: Iterable[int]) -> Block:
    """Merge neighbours, from the first row on, while they stand for at most `width` recorded rows.

    `alone` holds the positions (numbers of rows recorded before) of rows that stay unmerged.
    """
    counts = block.as_bins().counts
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
