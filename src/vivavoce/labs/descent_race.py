"""Descent on least squares with batches of a given size: the loop that is timed, and the one that is averaged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vivavoce.labs.figures import Floats
from vivavoce.measure.sgd_theory import LeastSquares

RATES = (0.9, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015, 0.007, 0.003)  # of the critical learning rate
BLOW_UP = 1e6  # times the first excess: it has diverged
LOOKS = 200  # looks at the error on the way; their time is not counted
FIRST_LOOKS = 20  # steps that are looked at one by one


@dataclass(frozen=True)
class Course:
    """One descent: where it was looked at, after how many samples and seconds, and the excess loss there."""

    batch: int
    rate: float
    samples: Floats
    seconds: Floats
    excess: Floats
    reached: bool

    @property
    def steps(self) -> int:
        """Steps made."""
        return round(float(self.samples[-1]) / self.batch)


def descend(
    problem: LeastSquares,
    batch: int,
    rate: float,
    target: float,
    random: np.random.Generator,
    *,
    most_samples: float,
    most_seconds: float = float("inf"),
) -> Course:
    """Descend from zero until the excess loss is at most `target`, in shuffled passes over the examples.

    The time counted is that of the steps and of drawing the batches, not of looking at the error. Stops when it has
    diverged or has used up `most_samples` or `most_seconds`.
    """
    weights = np.zeros(problem.d)
    first = float(problem.excess(weights))
    seen, spent, errors = [0.0], [0.0], [first]
    x, y = problem.x, problem.y
    order, place, step, clock = random.permutation(problem.n), 0, 0, 0.0
    look_every = max(1, int(most_samples / batch / LOOKS))
    while errors[-1] > target and seen[-1] < most_samples and clock < most_seconds:
        todo = 1 if step < FIRST_LOOKS else min(look_every, max(1, step // FIRST_LOOKS))
        began = time.perf_counter()
        for _ in range(todo):
            if place + batch > problem.n:
                order, place = random.permutation(problem.n), 0
            if batch == problem.n:
                weights = weights - rate / batch * (x.T @ (x @ weights - y))
            else:
                rows = order[place : place + batch]
                part = x[rows]
                weights = weights - rate / batch * (part.T @ (part @ weights - y[rows]))
            place += batch
        clock += time.perf_counter() - began
        step += todo
        with np.errstate(over="ignore", invalid="ignore"):
            excess = float(problem.excess(weights))
        seen.append(float(step * batch))
        spent.append(clock)
        errors.append(excess)
        if not excess < BLOW_UP * first:
            break
    return Course(batch, rate, np.array(seen), np.array(spent), np.array(errors), errors[-1] <= target)


def chains(
    problem: LeastSquares,
    batch: int,
    rate: float,
    start: Floats,
    steps: int,
    random: np.random.Generator,
    *,
    skip: int = 0,
) -> Floats:
    """Mean excess loss over independent descents from `start` (chains, d), before each step from `skip` on: (steps − skip,).

    Every batch is drawn anew from all examples, without replacement within it, as the closed form has it.
    """
    weights, seen = start.copy(), []
    for step in range(steps):
        if step >= skip:
            seen.append(float(problem.excess(weights).mean()))
        rows = _draw(len(weights), problem.n, batch, random)
        part = problem.x[rows]
        residual = np.einsum("cbd,cd->cb", part, weights) - problem.y[rows]
        weights = weights - rate / batch * np.einsum("cb,cbd->cd", residual, part)
    return np.array(seen)


def _draw(
    rows: int, n: int, batch: int, random: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    if batch == 1:
        return random.integers(0, n, (rows, 1))
    return np.argpartition(random.random((rows, n)), min(batch, n - 1), axis=1)[:, :batch]


def steps_in_theory(problem: LeastSquares, batch: int, rate: float, target: float, most: int) -> int | None:
    """The first step at which the expected excess loss is at most `target`; None within `most` steps."""
    done = 64
    while True:
        done = min(done, most)
        reached = np.flatnonzero(problem.expected_course(np.zeros(problem.d), rate, batch, done) <= target)
        if len(reached):
            return int(reached[0])
        if done >= most:
            return None
        done *= 4


def best_rate(problem: LeastSquares, batch: int, target: float, most_samples: int) -> tuple[float, int] | None:
    """The learning rate, of a geometric row below the critical one, that reaches `target` in fewest steps in expectation."""
    best: tuple[float, int] | None = None
    critical = problem.critical_rate(batch)
    for share in RATES:
        most = max(1, most_samples // batch) if best is None else best[1]
        if problem.floor(share * critical, batch) >= target:
            continue
        steps = steps_in_theory(problem, batch, share * critical, target, most)
        if steps is not None and (best is None or steps < best[1]):
            best = share * critical, steps
    return best


def fastest(courses: Sequence[Course]) -> Course | None:
    """The course that reached its target in the fewest seconds."""
    return min((c for c in courses if c.reached), key=lambda c: float(c.seconds[-1]), default=None)
