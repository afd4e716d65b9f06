"""When the guard acts, in numbers alone: how a gradient's norm stands out, and which failures follow on one another."""

from __future__ import annotations

import math
from collections import deque

MEMORY = 0.97  # weight of the past in the running mean and variance of the norm (ZClip's α, arXiv 2504.02507)
OUTLIER = 2.5  # standard deviations above the mean (ZClip's z)
WARM_UP = 25  # steps before the mean and variance mean anything (ZClip's)
FEWEST = 64  # steps before a norm can stand out: at the start of a training norms move by a factor of ten and more
BLOCK = 16  # steps: the peak that a norm is held against is that of the blocks before the last full one
BEYOND = 4.0  # times that peak: one healthy norm in a hundred lies above OUTLIER, hardly any so far above all before it
CLIMBED = 16  # steps: a failure within so many of a norm that stood out was approached, another came out of nowhere
LASTING = 32  # steps; where half of them were clipped, clipping alone does not hold the gradient
RELAPSE = 100  # steps: a failure so soon after a rewind says that the snapshot was too young (PaLM goes back about 100)
AT_ONCE = 2  # steps: failures this close follow on one another, whatever the weights are
IN_A_ROW = 5  # failures at once before the guard gives up: what breaks the values is not in the weights
MOST_FAILURES = 100  # in a run, before it gives up
MOST_CLIPS = 1_000  # in a run, before it gives up
LOWERED = 0.5  # factor for the learning rate each time it is lowered
LOWEST = 1 / 1024  # of the script's own learning rate: what needs less has another fault
BLOWN = 2.0  # times the norm of the weights in the snapshot: then it was the steps since that broke the values


class Growth:
    """The course of one optimizer's gradient norm: `mean` and `variance` of those taken, `peak` of all but the last ones."""

    def __init__(self) -> None:
        self.seen = 0
        self.mean = 0.0
        self.variance = 0.0
        self.peak = 0.0
        self._blocks = (0.0, 0.0)  # highest norms of the last full block, and of the one that goes on
        self._marks: deque[bool] = deque(maxlen=LASTING)  # of the last steps: whether the norm stood out

    def ceiling(self, norm: float) -> float | None:
        """Take a finite norm in. Where it stands out: what it should be scaled down to (ZClip's reciprocal rule).

        It stands out where it lies both `OUTLIER` deviations above the running mean and `BEYOND` times above the peak
        of all norms but those of the last 16 to 32 steps. The running values then take in the lower norm.
        """
        target = self._target(norm)
        self._marks.append(target is not None)
        self._take(norm if target is None else target)
        return target

    @property
    def climbed(self) -> bool:
        """Whether a norm of the last `CLIMBED` steps stood out."""
        return any(list(self._marks)[-CLIMBED:])

    @property
    def lasting(self) -> bool:
        """Whether half of the last `LASTING` norms stood out."""
        return 2 * sum(self._marks) >= LASTING

    def forget_marks(self) -> None:
        """Something was done about it: count anew."""
        self._marks.clear()

    def deviations(self, norm: float) -> float:
        """How many standard deviations a norm lies above the mean."""
        deviation = math.sqrt(self.variance)
        return (norm - self.mean) / deviation if deviation > 0 else math.inf

    def _target(self, norm: float) -> float | None:
        if self.seen < FEWEST or not norm > BEYOND * self.peak > 0:
            return None
        z = self.deviations(norm)
        return self.mean + OUTLIER**2 / z * math.sqrt(self.variance) if z > OUTLIER else None

    def _take(self, norm: float) -> None:
        weight = 1 / (self.seen + 1) if self.seen < WARM_UP else 1 - MEMORY
        difference = norm - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)
        self.seen += 1
        last, now = self._blocks
        now = max(now, norm)
        if self.seen % BLOCK == 0:
            self.peak, last, now = max(self.peak, last), now, 0.0
        self._blocks = last, now


class Failures:
    """Steps that broke: how many in all, and how many at once."""

    def __init__(self) -> None:
        self.total = 0
        self.at_once = 0
        self._last = -math.inf

    def add(self, step: int) -> bool:
        """Note one at `step`. True for a relapse: it comes within `RELAPSE` steps of the one before."""
        gap, self._last = step - self._last, step
        self.total += 1
        self.at_once = self.at_once + 1 if gap <= AT_ONCE else 1
        return gap <= RELAPSE

    def count_anew(self) -> None:
        """Something was done against the cause: what breaks now is no part of the row before."""
        self.at_once = 0

    def hopeless(self, blown: bool) -> str:
        """Why the guard should give up; "" where it should not. `blown`: the weights had left all bounds."""
        if self.at_once > IN_A_ROW and blown:
            return f"after {IN_A_ROW} rewinds at once the very next steps blew the weights up again: they are far too large"
        if self.at_once > IN_A_ROW:
            return f"{IN_A_ROW} steps in a row broke although the weights were sound: look at the data, or at a state that the script carries from step to step"
        if self.total > MOST_FAILURES:
            return f"{MOST_FAILURES} steps broke: guarding does not cure this run"
        return ""
