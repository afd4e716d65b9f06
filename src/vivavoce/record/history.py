"""The rows of one signal, within bounds: the start and the end as they were recorded, the middle reduced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vivavoce.record.blocks import Block, join, regroup, split
from vivavoce.record.tracks import Floats, Integers

# Each of the three parts of a signal (head, middle, tail) holds about this many numbers: 2 MiB raw, 6 MiB as bins.
# Twenty such signals stay below 300 MiB, whatever the number of steps and of parameters.
PART_VALUES = 2**18
# Rows of a part. Fewer than 128 would hide the shape of a curve; more than 8,192 are more than a wide screen shows.
MIN_ROWS, MAX_ROWS = 128, 8192
# A part is stored in about this many blocks; a flush rewrites no more than the last ones.
BLOCKS_PER_PART = 4
# Rows that hold the first non-finite value of some column are never merged; at most so many.
MAX_PINNED = 16


@dataclass(frozen=True)
class Limits:
    """How much of a signal is kept, in rows: each of head, middle and tail keeps `rows`, in blocks of `block` rows."""

    rows: int
    block: int


def limits_for(columns: int) -> Limits:
    """The limits of a signal with so many columns."""
    rows = min(max(PART_VALUES // max(columns, 1), MIN_ROWS), MAX_ROWS)
    return Limits(rows, rows // BLOCKS_PER_PART)


class History:
    """Head, middle and tail of a signal.

    The first `limits.rows` rows and at least as many of the last ones are kept as they were recorded. Those between
    are bins of equal width, which doubles whenever more than `limits.rows` bins have come together.
    """

    def __init__(self, columns: int, limits: Limits | None = None) -> None:
        self.columns = columns
        self.limits = limits or limits_for(columns)
        self.rows = 0  # recorded so far
        self._width = 1
        self._head: list[Block] = []
        self._middle: list[Block] = []
        self._tail: list[Block] = []
        self._pinned: list[int] = []
        self._unseen = np.ones(columns, dtype=bool)  # columns that were finite so far

    def blocks(self) -> list[Block]:
        """All blocks in the order of their rows. They never change, so the list is a snapshot."""
        return [*self._head, *self._middle, *self._tail]

    def add(self, steps: Integers, values: Floats) -> None:
        """Take in recorded rows: steps (n,), values (n, k). The arrays must not be changed afterwards."""
        self._pin(values)
        room = max(self.limits.rows - self.rows, 0)
        for part, rows in ((self._head, slice(0, room)), (self._tail, slice(room, None))):
            if len(steps[rows]):
                start = self.rows + (rows.start or 0)
                for piece in split(Block(start, steps[rows], values[rows]), self.limits.block):
                    _append(part, piece, self.limits.block)
        self.rows += len(steps)
        self._shorten_tail()

    def _pin(self, values: Floats) -> None:
        if len(self._pinned) >= MAX_PINNED or np.isfinite(values).all():
            return
        bad = ~np.isfinite(values) & self._unseen
        columns = np.flatnonzero(bad.any(axis=0))
        self._unseen[columns] = False
        rows = np.unique(bad[:, columns].argmax(axis=0))
        self._pinned.extend(self.rows + int(row) for row in rows[: MAX_PINNED - len(self._pinned)])

    def _shorten_tail(self) -> None:
        rows = sum(len(block) for block in self._tail)
        if rows <= 2 * self.limits.rows:
            return
        leaving = 0
        while rows - len(self._tail[leaving]) >= self.limits.rows:
            rows -= len(self._tail[leaving])
            leaving += 1
        self._reduce(self._tail[:leaving])
        del self._tail[:leaving]

    def _reduce(self, blocks: list[Block]) -> None:
        last = [self._middle.pop()] if self._middle else []  # its last bin may have room
        merged = regroup(join([*last, *blocks]), self._width, self._pinned)
        self._middle.extend(split(merged, self.limits.block))
        while sum(len(block) for block in self._middle) > self.limits.rows and self._width < self.rows:
            self._width *= 2
            merged = regroup(join(self._middle), self._width, self._pinned)
            self._middle = split(merged, self.limits.block)


def _append(part: list[Block], block: Block, limit: int) -> None:
    """Add a raw block; neighbours of like size become one, so that small ones stay few and are rarely copied."""
    while part and len(part[-1]) <= len(block) and len(part[-1]) + len(block) <= limit:
        block = join([part.pop(), block])
    part.append(block)
