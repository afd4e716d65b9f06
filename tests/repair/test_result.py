"""What a repair cost, and the table of its arms."""

from __future__ import annotations

import math

from vivavoce.repair.arm import Arm
from vivavoce.repair.comparison import effect
from vivavoce.repair.outcome import Ended, Found, Outcome
from vivavoce.repair.reading import TRAINING_LOSS
from vivavoce.repair.result import Result, cost_of
from vivavoce.repair.rows import middle, rows
from vivavoce.repair.yardstick import Yardstick


def run(
    arm: str, seed: int, level: float, ended: Ended = "finished", seconds: float = 10.0, cpu: float = 2.0
) -> Outcome:
    found = (Found("guessing", "warning", "It guesses"),) if level > 1 else ()
    levels = {TRAINING_LOSS: level}
    return Outcome(arm, seed, ended, steps=5, seconds=seconds, cpu_seconds=cpu, levels=levels, findings=found)


def arm(name: str, kind: str, *outcomes: Outcome) -> Arm:
    return Arm(name, kind, outcomes={outcome.seed: outcome for outcome in outcomes})  # type: ignore[arg-type]


def test_cost_is_in_whole_runs_of_the_control_by_processor_time() -> None:
    control = arm("original", "original", run("o", 0, 2.0), run("o", 1, 2.0, "stopped early", cpu=0.5))
    other = arm("a", "remedy", run("a", 0, 1.0, cpu=3.0))
    assert cost_of([control, other]).multiple == (2.0 + 0.5 + 3.0) / 2.0
    assert cost_of([control, other]).runs == 3


def test_cost_is_in_wall_time_where_a_run_was_killed() -> None:
    control = arm("original", "original", run("o", 0, 2.0))
    killed = arm("a", "remedy", run("a", 0, math.nan, "too slow", seconds=200.0, cpu=0.0))
    assert cost_of([control, killed]).multiple == (10.0 + 200.0) / 10.0
    assert cost_of([arm("original", "original")]).multiple == 0.0


def test_the_table_has_the_winner_first_and_losers_too() -> None:
    control = arm("original", "original", *(run("o", seed, 2.0 + seed / 10) for seed in range(3)))
    winner = arm("patched: a", "patched", *(run("p", seed, 0.5 + seed / 10) for seed in range(3)))
    lost = arm("b", "remedy", run("b", 0, math.nan, "stopped early"))
    lucky = arm("a", "remedy", run("a", 0, 0.1))
    measure = Yardstick(TRAINING_LOSS, "lower")
    proof = effect(control.levels(TRAINING_LOSS), winner.levels(TRAINING_LOSS), "lower")
    result = Result("repaired", "", "train.py", [control, lost, lucky, winner], measure, {}, winner, proof)
    table = rows(result)
    assert [row.name for row in table] == ["patched: a", "a", "original", "b"]
    assert table[0].cells[1:6] == ("0.6", "+1.5", "[1.5, 1.5]", "5 %", "3")
    assert table[2].found == "guessing"
    assert table[3].found == "stopped early"
    assert table[3].level == "NaN"


def test_the_middle_of_an_arm_is_not_finite_where_half_of_its_runs_are_not() -> None:
    assert math.isnan(middle(arm("a", "remedy", run("a", 0, 1.0), run("a", 1, math.nan)), TRAINING_LOSS))
    assert middle(arm("a", "remedy", run("a", 0, 1.0), run("a", 1, 3.0), run("a", 2, math.nan)), TRAINING_LOSS) == 2.0
