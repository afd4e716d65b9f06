"""Keeps Viva's own cost within its budget by measuring it and spacing out the samples."""

from __future__ import annotations

import math
import time

DEFAULT_BUDGET = 0.02  # share of the training's own step time
HEADROOM = 0.75  # of the budget is planned for: the rest is what no timer sees (cold caches, a shared interpreter lock)
START_UP_GRANT = 0.1  # seconds that may be spent once, so that short runs are sampled well
FULL_SHARE = 0.5  # of the budget, for the signals of full steps
DEEP_SHARE = 0.25  # for deep samples; the rest is for the background thread, which keeps to it by itself
ALARM_STEPS = 32  # steps for which every signal is taken after something looked wrong
ALARM_DEEP_GAP = 4  # steps between deep samples while an alarm lasts
ALARM_DEBT = 0.25  # seconds that alarms may overdraw the budget by, in all
LIGHT_COST = 5e-6  # seconds: a step on which only the raw loss is read, as bench/overhead.py sees it
UNSEEN_COST = 8e-6  # seconds: entering and leaving the taps of a full step, which their own timers cannot see
INTERRUPTED = 4.0  # times the usual: a longer one has been interrupted
SMOOTHING = 0.2  # weight of the newest cost in the running estimates
DEEP_GAP_GROWTH = 1.5  # ratio of successive gaps between the first deep samples
DEEP_GAP = 25  # steps between deep samples once the first ones are taken, budget allowing
FULL_AT_LEAST = 64  # steps: a step is full at least this often, whatever it costs
DEEP_AT_LEAST = 2.0  # ratio of steps: a deep sample is taken whenever the run has doubled since the last one
LONGEST_STEP = 60.0  # seconds: longer pauses between steps (a breakpoint, an evaluation) earn no more than this

now = time.perf_counter


class Budget:
    """Decides which steps are full, which are sampled deeply, and which pass lightly.

    On a light step only the raw loss is read and the step counted; on a full one the gradient norms, learning rates
    and the order of calls too. `fraction` is the share of step time that Viva may use (0 < fraction ≤ 1). `spent` is
    Viva's own time inside the taps and the background thread; `setup` what was paid once, outside the budget (finding
    the models); `elapsed` wall time of the training. All in seconds. Raises ValueError for a fraction outside its range.
    """

    def __init__(self, fraction: float = DEFAULT_BUDGET) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"budget must lie in (0, 1], not {fraction!r}")
        self.fraction = fraction
        self.spent = 0.0
        self.setup = 0.0
        self.elapsed = 0.0
        self.alarms = 0  # raised so far, those that follow at once counted once
        self._full = START_UP_GRANT * FULL_SHARE  # seconds that may be spent now
        self._deep = START_UP_GRANT * DEEP_SHARE
        self._full_cost = 0.0  # running estimates of one step's
        self._deep_cost = 0.0
        self._step_seconds = 0.0  # the training's own
        self._unsettled = 0.0  # own time since the last settlement
        self._unsettled_deep = 0.0
        self._unsettled_background = 0.0
        self._last_settled = 0.0
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

    @property
    def allowed(self) -> float | None:
        """What the overhead may be: the budget, and what was granted once, to start and for alarms."""
        training = self.elapsed - self.spent
        return self.fraction + (START_UP_GRANT + min(self._debt, ALARM_DEBT)) / training if training > 0 else None

    def restart_clock(self) -> None:
        """The time until now is none of the training's: nothing is earned for it."""
        self._last_settled = 0.0

    def charge(self, seconds: float) -> None:
        """Own time of a tap on a full step."""
        self._unsettled += seconds

    def charge_deep(self, seconds: float) -> None:
        """Own time of a part of a deep sample."""
        self._unsettled_deep += seconds

    def charge_background(self, seconds: float) -> None:
        """Own time of the thread that writes and examines."""
        self._unsettled_background += seconds

    def charge_setup(self, seconds: float) -> None:
        """Own time that is paid once, and is no time of the training's."""
        self.setup += seconds
        if self._last_settled > 0.0:
            self._last_settled += seconds

    def alarm(self, step: int) -> None:
        """Something looks wrong: take every signal for a while, budget or not (within `ALARM_DEBT`)."""
        if step > self._alarm_until:
            self.alarms += 1
        if self._debt < ALARM_DEBT:
            self._alarm_until = step + ALARM_STEPS

    def affords(self, seconds: float) -> bool:
        """Whether an optional reading of this cost is covered by the share for full steps."""
        return self._full >= seconds

    def light_steps(self, step: int) -> int:
        """How many steps pass lightly until the next full one is paid for; 0 while an alarm lasts."""
        if step < self._alarm_until or self._full >= self._full_cost:
            return 0
        earned = FULL_SHARE * HEADROOM * self.fraction * self._step_seconds - LIGHT_COST
        if earned <= 0:
            return FULL_AT_LEAST - 1
        return min(FULL_AT_LEAST - 1, math.ceil((self._full_cost - self._full) / earned))

    def wants_deep(self, step: int) -> bool:
        """Whether the coming step is sampled deeply; counts as taken when True is returned."""
        if not self.deep_is_due(step):
            return False
        alarmed = self._alarmed(step)
        self._last_deep = step
        if alarmed:
            return True
        self._deep_gap = min(self._deep_gap * DEEP_GAP_GROWTH, DEEP_GAP)
        self._next_deep = step + max(1, int(self._deep_gap))
        return True

    def deep_is_due(self, step: int) -> bool:
        """Whether `wants_deep` would say so; nothing is counted."""
        affordable = self._deep >= self._deep_cost or step >= DEEP_AT_LEAST * self._last_deep
        return self._alarmed(step) or (step >= self._next_deep and affordable)

    def _alarmed(self, step: int) -> bool:
        return step <= self._alarm_until and step >= self._last_deep + ALARM_DEEP_GAP

    def settle(self, step: int, light: int = 0) -> float:
        """End of a full step that `light` steps came before: earn, and pay the taps.

        Returns the mean wall time of these steps without Viva's own, in seconds; 0 for the first one.
        """
        clock = now()
        own, deep, background = self._unsettled, self._unsettled_deep, self._unsettled_background
        self._unsettled = self._unsettled_deep = self._unsettled_background = 0.0
        planned_deep = _without_interruption(deep, self._deep_cost)
        if deep:
            self._deep_cost = _smooth(self._deep_cost, planned_deep)
        if self._last_settled <= 0.0:
            self._last_settled = clock
            self.setup += own + deep
            return 0.0
        own += UNSEEN_COST
        planned = _without_interruption(own, self._full_cost)
        self._full_cost = _smooth(self._full_cost, planned)
        own += light * LIGHT_COST
        planned += light * LIGHT_COST
        wall = min(clock - self._last_settled, (light + 1) * LONGEST_STEP)
        self._last_settled = clock
        training = max(wall - own - deep, 0.0)
        self.spent += own + deep + background
        self.elapsed += wall
        earned = HEADROOM * self.fraction * training
        self._full += FULL_SHARE * earned - planned
        self._deep += DEEP_SHARE * earned - planned_deep
        self._balance(step)
        self._step_seconds = _smooth(self._step_seconds, training / (light + 1))
        return training / (light + 1)

    def _balance(self, step: int) -> None:
        """Put what an alarm overdrew down as debt, and pour what the full steps leave into the deep samples."""
        if step <= self._alarm_until:
            self._debt += max(-self._full, 0.0) + max(-self._deep, 0.0)
            self._full, self._deep = max(self._full, 0.0), max(self._deep, 0.0)
            if self._debt > ALARM_DEBT:
                self._alarm_until = -1
        surplus = self._full - START_UP_GRANT
        if surplus > 0:
            self._full -= surplus
            self._deep += surplus
        self._deep = min(self._deep, START_UP_GRANT)


def _without_interruption(seconds: float, usual: float) -> float:
    """A measured time for planning: one far above the usual was spent by another process on this core, not by us."""
    return seconds if usual == 0.0 else min(seconds, INTERRUPTED * usual)


def _smooth(before: float, newest: float) -> float:
    return newest if before == 0.0 else (1 - SMOOTHING) * before + SMOOTHING * newest
