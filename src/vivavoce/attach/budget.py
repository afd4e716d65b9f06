"""Keeps Viva's own cost within its budget by measuring it and spacing out the samples."""

from __future__ import annotations

import time

DEFAULT_BUDGET = 0.02  # share of the training's own step time
START_UP_GRANT = 0.1  # seconds that may be spent once, so that short runs are sampled well
CHEAP_SHARE = 0.6  # of the budget, for the signals of every step; the rest is for deep samples
ALARM_STEPS = 32  # steps for which every signal is taken after something looked wrong
ALARM_DEBT = 0.25  # seconds that alarms may overdraw the budget by, in all
HOOK_COST = 0.35e-6  # seconds for entering and leaving one tap, which its own timer cannot see (bench/overhead.py)
SMOOTHING = 0.2  # weight of the newest cost in the running estimates
DEEP_GAP_GROWTH = 1.5  # ratio of successive gaps between the first deep samples
DEEP_GAP = 25  # steps between deep samples once the first ones are taken, budget allowing
NORMS_AT_LEAST = 64  # steps: gradient norms are taken at least this often, whatever they cost
DEEP_AT_LEAST = 1000  # steps: the same for deep samples
LONGEST_STEP = 60.0  # seconds: longer pauses between steps (a breakpoint, an evaluation) earn no more than this

now = time.perf_counter


class Budget:
    """Decides at each step which signals are taken.

    `fraction` is the share of step time that Viva may use (0 < fraction ≤ 1). `spent` is Viva's own time inside the
    taps and the background thread; `setup` is what was paid once, outside the budget (finding the models);
    `elapsed` is wall time of the training. All in seconds. Raises ValueError for a fraction outside its range.
    """

    def __init__(self, fraction: float = DEFAULT_BUDGET) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"budget must lie in (0, 1], not {fraction!r}")
        self.fraction = fraction
        self.spent = 0.0
        self.setup = 0.0
        self.elapsed = 0.0
        self._cheap = START_UP_GRANT * CHEAP_SHARE  # seconds that may be spent now
        self._deep = START_UP_GRANT * (1 - CHEAP_SHARE)
        self._norms_cost = 0.0  # running estimate of one sample
        self._deep_cost = 0.0
        self._unsettled = 0.0  # own time since the last step ended
        self._unsettled_deep = 0.0
        self._last_step = 0.0
        self._last_norms = 0
        self._next_deep = 1
        self._last_deep = 0
        self._deep_gap = 1.0
        self._alarm_until = -1
        self._debt = 0.0

    @property
    def overhead(self) -> float | None:
        """Own time over the training's own time, without the set-up; None before the first full step."""
        training = self.elapsed - self.spent
        return self.spent / training if training > 0 else None

    def charge(self, seconds: float) -> None:
        """Own time of a tap at every step."""
        self._unsettled += seconds

    def charge_norms(self, seconds: float) -> None:
        """Own time of one reading of the gradient norms."""
        self._unsettled += seconds
        self._norms_cost = _smooth(self._norms_cost, seconds)

    def charge_deep(self, seconds: float) -> None:
        """Own time of a part of a deep sample."""
        self._unsettled_deep += seconds

    def charge_setup(self, seconds: float) -> None:
        """Own time that is paid once, and is no time of the training's."""
        self.setup += seconds
        if self._last_step > 0.0:
            self._last_step += seconds

    def alarm(self, step: int) -> None:
        """Something looks wrong: take every signal for a while, budget or not (within `ALARM_DEBT`)."""
        if self._debt < ALARM_DEBT:
            self._alarm_until = step + ALARM_STEPS

    def affords(self, seconds: float) -> bool:
        """Whether an optional reading of this cost is covered by the share for every step."""
        return self._cheap >= seconds

    def wants_norms(self, step: int) -> bool:
        """Whether the gradient norms of this step are taken; counts as taken when True is returned."""
        wanted = (
            self._cheap >= self._norms_cost or step <= self._alarm_until or step >= self._last_norms + NORMS_AT_LEAST
        )
        if wanted:
            self._last_norms = step
        return wanted

    def wants_deep(self, step: int) -> bool:
        """Whether the coming step is sampled deeply; counts as taken when True is returned."""
        if step < self._next_deep or (self._deep < self._deep_cost and step < self._last_deep + DEEP_AT_LEAST):
            return False
        self._last_deep = step
        self._deep_gap = min(self._deep_gap * DEEP_GAP_GROWTH, DEEP_GAP)
        self._next_deep = step + max(1, int(self._deep_gap))
        return True

    def settle(self, step: int) -> float:
        """End of a step: earn, and pay the taps. Returns the step's wall time without Viva's own, in seconds."""
        clock = now()
        own, deep = self._unsettled, self._unsettled_deep
        self._unsettled = self._unsettled_deep = 0.0
        if deep:
            self._deep_cost = _smooth(self._deep_cost, deep)
        if self._last_step <= 0.0:
            self._last_step = clock
            self.setup += own + deep
            return 0.0
        wall = min(clock - self._last_step, LONGEST_STEP)
        self._last_step = clock
        training = max(wall - own - deep, 0.0)
        self.spent += own + deep
        self.elapsed += wall
        earned = self.fraction * training
        self._cheap += CHEAP_SHARE * earned - own
        self._deep += (1 - CHEAP_SHARE) * earned - deep
        self._balance(step)
        return training

    def _balance(self, step: int) -> None:
        """Forgive what an alarm overdrew, and pour what one share cannot use into the other."""
        if self._cheap < 0 and step <= self._alarm_until:
            self._debt -= self._cheap
            self._cheap = 0.0
            if self._debt > ALARM_DEBT:
                self._alarm_until = -1
        surplus = self._cheap - START_UP_GRANT
        if surplus > 0:
            self._cheap -= surplus
            self._deep = min(self._deep + surplus, START_UP_GRANT)
        elif self._cheap < 0 < self._deep:
            moved = min(-self._cheap, self._deep)
            self._cheap += moved
            self._deep -= moved


def _smooth(before: float, newest: float) -> float:
    return newest if before == 0.0 else (1 - SMOOTHING) * before + SMOOTHING * newest
