"""Step times of two arms of one training loop, taken in short alternating blocks, and their ratio with an interval."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from _workloads import Training

PRINT_EVERY = 50  # steps between the loop's own `print(loss.item())`
UNTIMED_STEPS = 1  # first steps of each block, left out: they make the loader's iterator and refill the caches
BLOCK_SECONDS = 0.1  # length of a plain block: long against the timer, short against the drift of a busy machine
PAIR_SECONDS = 0.6  # an expensive arm gets shorter blocks, so that a pair of blocks takes no longer than this
FEWEST_STEPS = 2  # timed steps of a block, at least
FEWEST_PAIRS = 4  # pairs of blocks of an arm, at least
BOOTSTRAP_RESAMPLES = 2_000
INTERVAL = (2.5, 97.5)  # percentiles of the bootstrap, a 95 % interval


@dataclass(frozen=True)
class Hooks:
    """What an arm adds to the loop: calls at the places where its users are told to write them."""

    around: Callable[[], AbstractContextManager[object]] | None = None  # around a whole step
    batch: Callable[[Tensor, Tensor], None] | None = None  # the batch, before the forward pass
    backward: Callable[[Tensor, Tensor, Tensor], None] | None = (
        None  # in place of loss.backward(): loss, inputs, targets
    )
    before_step: Callable[[Tensor], None] | None = None  # after clipping
    step: Callable[[Tensor], None] | None = None  # in place of optimizer.step()
    after_step: Callable[[Tensor], None] | None = None  # the loss
    busy: Callable[[], bool] | None = None  # whether a thread of the arm is at work; a block goes on until it is not


PLAIN = Hooks()


@dataclass(frozen=True)
class Block:
    """Wall and processor time of a block, in seconds a step."""

    wall: float
    processor: float


def run_block(training: Training, hooks: Hooks, steps: int, out: object) -> Block:
    """Train for `UNTIMED_STEPS` + `steps` steps (more while the arm is busy), time the latter. The loop prints to `out`."""
    last = training.steps_done + UNTIMED_STEPS + steps
    first = training.steps_done + UNTIMED_STEPS
    started = (0.0, 0.0)
    while True:
        for inputs, targets in training.loader:
            if hooks.around is None:
                _step(training, hooks, inputs, targets, out)
            else:
                with hooks.around():
                    _step(training, hooks, inputs, targets, out)
            training.steps_done += 1
            if training.steps_done == first:
                started = (time.perf_counter(), time.process_time())
            elif training.steps_done >= last and not (hooks.busy is not None and hooks.busy()):
                taken = training.steps_done - first
                wall, processor = time.perf_counter() - started[0], time.process_time() - started[1]
                return Block(wall / taken, processor / taken)


def _step(training: Training, hooks: Hooks, inputs: Tensor, targets: Tensor, out: object) -> None:
    """One step of the loop that a user would write."""
    if hooks.batch is not None:
        hooks.batch(inputs, targets)
    training.optimizer.zero_grad()
    loss = training.loss(inputs, targets)
    if hooks.backward is None:
        loss.backward()
    else:
        hooks.backward(loss, inputs, targets)
    if training.clip is not None:
        torch.nn.utils.clip_grad_norm_(training.model.parameters(), training.clip)
    if hooks.before_step is not None:
        hooks.before_step(loss)
    if hooks.step is None:
        training.optimizer.step()
    else:
        hooks.step(loss)
    if hooks.after_step is not None:
        hooks.after_step(loss)
    if training.steps_done % PRINT_EVERY == 0:
        print(training.steps_done, loss.item(), file=out)  # type: ignore[arg-type]


@dataclass
class Arms:
    """The two arms of a comparison. They are one `Training` where the watching comes off without a trace, else twins."""

    plain: Training
    watched: Training
    hooks: Hooks
    enter: Callable[[], None] = lambda: None  # before a watched block, untimed
    leave: Callable[[], None] = lambda: None  # after it, untimed


@dataclass
class Pairs:
    """Blocks of the two arms, entry by entry neighbours in time."""

    plain: list[Block] = field(default_factory=list)
    watched: list[Block] = field(default_factory=list)

    def summary(self) -> dict[str, float | int | list[float]]:
        """Step times in milliseconds, and the ratios: see `ratio_summary`."""
        plain, watched = (np.array([block.wall for block in blocks]) for blocks in (self.plain, self.watched))
        processor = (np.array([block.processor for block in blocks]) for blocks in (self.plain, self.watched))
        return {
            "plain_ms": float(np.median(plain)) * 1e3,
            "watched_ms": float(np.median(watched)) * 1e3,
            "added_us": float(np.median(watched - plain)) * 1e6,
            "pairs": len(plain),
            **ratio_summary(plain, watched),
            "processor": ratio_summary(*processor),
        }


def ratio_summary(plain: np.ndarray, watched: np.ndarray) -> dict[str, float | list[float]]:
    """Median of the pairs' ratios, and the ratio of the sums, each with a percentile-bootstrap interval over pairs.

    The median shrugs off a neighbour's burst of work, but also an arm's own rare dear step where most blocks hold
    none. The ratio of the sums counts both. An arm is as cheap as it looks only where the two agree.

    Args: plain, watched: float arrays of shape (pairs,), seconds a step.
    """
    pick = np.random.default_rng(0).integers(0, len(plain), (BOOTSTRAP_RESAMPLES, len(plain)))
    medians = np.median((watched / plain)[pick], axis=1)
    totals = watched[pick].sum(axis=1) / plain[pick].sum(axis=1)
    return {
        "ratio": float(np.median(watched / plain)),
        "ratio_interval": np.percentile(medians, INTERVAL).tolist(),
        "total_ratio": float(watched.sum() / plain.sum()),
        "total_ratio_interval": np.percentile(totals, INTERVAL).tolist(),
    }


def compare(arms: Arms, seconds: float) -> Pairs:
    """Alternate plain and watched blocks (ABBA BAAB …) for about `seconds` after a warm-up, and keep the pairs."""
    with open(os.devnull, "w") as out, contextlib.redirect_stdout(out):
        steps = _warm_up(arms, seconds / 4, out)
        gc.collect()
        pairs = Pairs()
        ends = time.perf_counter() + seconds
        watched_first = False
        while len(pairs.plain) < FEWEST_PAIRS or time.perf_counter() < ends:
            for turn in (watched_first, not watched_first):
                _pair(arms, steps, turn, pairs, out)
            watched_first = not watched_first
    return pairs


def _pair(arms: Arms, steps: int, watched_first: bool, pairs: Pairs, out: object) -> None:
    for watched in (watched_first, not watched_first):
        if watched:
            pairs.watched.append(_watched_block(arms, steps, out))
        else:
            pairs.plain.append(run_block(arms.plain, PLAIN, steps, out))


def _watched_block(arms: Arms, steps: int, out: object) -> Block:
    arms.enter()
    try:
        return run_block(arms.watched, arms.hooks, steps, out)
    finally:
        arms.leave()


def _warm_up(arms: Arms, seconds: float, out: object) -> int:
    """Run both arms for about `seconds`, and return the number of steps a block should have."""
    ends = time.perf_counter() + seconds
    steps = FEWEST_STEPS
    while True:
        watched = _watched_block(arms, steps, out).wall
        plain = run_block(arms.plain, PLAIN, steps, out).wall
        steps = max(FEWEST_STEPS, int(min(BLOCK_SECONDS / plain, PAIR_SECONDS / (plain + watched))))
        if time.perf_counter() > ends:
            return steps
