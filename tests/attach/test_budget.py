"""The budget on a simulated clock: what is spent stays within the share, alarms within their debt, floors hold."""

import pytest

from vivavoce.attach import budget as module
from vivavoce.attach.budget import (
    ALARM_DEBT,
    ALARM_STEPS,
    DEEP_AT_LEAST,
    FULL_AT_LEAST,
    LIGHT_COST,
    LONGEST_STEP,
    START_UP_GRANT,
    UNSEEN_COST,
    Budget,
)


class Clock:
    def __init__(self):
        self.seconds = 1.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "now", clock)
    return clock


class Simulation:
    """A training of equal steps, watched by taps of known cost."""

    def __init__(self, clock, fraction=0.02, step=0.01, full=1e-4, deep=2e-3):
        self.clock, self.budget = clock, Budget(fraction)
        self.step_seconds, self.full_seconds, self.deep_seconds = step, full, deep
        self.full, self.deep = [], []  # steps
        self.training = self.spent = 0.0
        self.step = self.light = self.light_left = 0
        self.sampled = True

    def run(self, steps, alarm=lambda step: False):
        for _ in range(steps):
            self.step += 1
            self._advance(self.step_seconds, own=False)
            if alarm(self.step):
                self.budget.alarm(self.step)
                self.light_left = min(self.light_left, self.budget.light_steps(self.step))
            if self.light_left > 0:
                self.light_left -= 1
                self.light += 1
                self._advance(LIGHT_COST)
            else:
                self._full_step()
        return self

    def _full_step(self):
        self.full.append(self.step)
        self.budget.charge(self.full_seconds)
        self._advance(self.full_seconds + UNSEEN_COST)
        if self.sampled:
            self.deep.append(self.step)
            self.budget.charge_deep(self.deep_seconds)
            self._advance(self.deep_seconds)
        self.budget.settle(self.step, self.light)
        self.light = 0
        self.sampled = self.budget.wants_deep(self.step + 1)
        self.light_left = 0 if self.sampled else self.budget.light_steps(self.step)

    def _advance(self, seconds, own=True):
        self.clock.seconds += seconds
        if own:
            self.spent += seconds
        else:
            self.training += seconds

    @property
    def allowed(self):
        return self.budget.fraction * self.training + START_UP_GRANT


@pytest.mark.parametrize("fraction", [0.005, 0.02, 0.1])
@pytest.mark.parametrize(
    ("step", "full", "deep"),
    [
        (0.01, 1e-4, 2e-3),  # a small network
        (0.01, 5e-4, 2e-2),  # dear taps
        (0.3, 2e-3, 0.1),  # a large one
        (0.002, 1e-5, 1e-3),
    ],
)
def test_the_share_is_kept(clock, fraction, step, full, deep):
    simulation = Simulation(clock, fraction, step, full, deep).run(20_000)
    floors = 20_000 / FULL_AT_LEAST * full + 20 * deep  # what is taken whatever it costs
    assert simulation.spent <= simulation.allowed + floors + 20_000 * LIGHT_COST
    if full <= 0.1 * fraction * step:
        assert len(simulation.full) > 0.99 * 20_000  # what can be afforded is taken


def test_the_overhead_it_tells_is_what_was_spent(clock):
    simulation = Simulation(clock).run(5_000)
    assert simulation.budget.overhead == pytest.approx(simulation.spent / simulation.training, rel=0.05)
    assert simulation.budget.overhead <= 0.02 + START_UP_GRANT / simulation.training


def test_nothing_is_known_before_the_first_full_step():
    assert Budget().overhead is None


def test_cheap_taps_are_never_spaced(clock):
    simulation = Simulation(clock, step=0.1, full=1e-5, deep=1e-4).run(500)
    assert simulation.full == list(range(1, 501))


def test_floors(clock):
    """Even where every signal costs more than a whole step."""
    simulation = Simulation(clock, step=1e-4, full=0.05, deep=1.0).run(3_000)
    gaps = [b - a for a, b in zip(simulation.full, simulation.full[1:], strict=False)]
    assert max(gaps) <= FULL_AT_LEAST
    late = [b / a for a, b in zip(simulation.deep, simulation.deep[1:], strict=False) if a > FULL_AT_LEAST]
    assert late
    assert max(late) <= DEEP_AT_LEAST + 1  # due on a full step only


def test_an_alarm_takes_every_step(clock):
    simulation = Simulation(clock, step=1e-3, full=5e-4, deep=1e-3).run(3_000)
    before = len(simulation.full)
    assert before < 3_000
    simulation.run(ALARM_STEPS, alarm=lambda step: step == 3_001)
    assert len(simulation.full) - before == ALARM_STEPS


def test_alarms_without_end_cost_no_more_than_their_debt(clock):
    costs = {"step": 1e-3, "full": 5e-4, "deep": 1e-3}
    simulation = Simulation(clock, **costs).run(20_000, alarm=lambda step: True)
    deep = len(simulation.deep) * costs["deep"]
    floors = 20_000 * (costs["full"] + UNSEEN_COST) / FULL_AT_LEAST
    assert (
        simulation.spent
        <= simulation.allowed + ALARM_DEBT + ALARM_STEPS * costs["full"] + deep + floors + 20_000 * LIGHT_COST
    )


def test_a_pause_earns_little(clock):
    budget = Budget(0.02)
    budget.settle(1)
    clock.seconds += 24 * 3600.0
    budget.settle(2)
    assert budget.elapsed <= LONGEST_STEP


def test_setting_up_is_not_the_trainings_time(clock):
    budget = Budget(0.02)
    budget.settle(1)
    clock.seconds += 5.0
    budget.charge_setup(5.0)
    clock.seconds += 0.1
    assert budget.settle(2) == pytest.approx(0.1, abs=2 * UNSEEN_COST)
    assert budget.setup == 5.0


def test_the_background_is_paid_for(clock):
    budget = Budget(0.02)
    for step in range(1, 100):
        clock.seconds += 0.1
        budget.charge_background(1e-3)
        budget.settle(step)
    assert budget.spent >= 98 * 1e-3


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan")])
def test_wrong_fractions(fraction):
    with pytest.raises(ValueError, match="budget"):
        Budget(fraction)
