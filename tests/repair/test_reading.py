"""What is read off runs, and by which yardstick they are compared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.repair import reading, yardstick
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.reading import Kind, printed, read
from vivavoce.repair.yardstick import NoYardstickError, Yardstick
from vivavoce.testing.runs import make_run

STEPS = 100
FALLING = np.linspace(2.0, 0.1, STEPS)


def trained(losses: np.ndarray, passes: np.ndarray | None = None, **loss: Any) -> Run:  # type: ignore[type-arg]
    steps = np.arange(1, STEPS + 1)
    site: dict[str, Any] = {"source": "function", "function": "cross_entropy", "classes": 10, **loss}
    signals: dict[Any, Any] = {
        ("train/loss", ("loss", 0)): (("loss",), steps, losses[:, None]),
        ("train/function_loss", ("loss", 1)): (("loss",), steps, losses[:, None]),
    }
    if passes is not None:
        when = np.linspace(10, STEPS, len(passes)).astype(int)
        rows = np.stack(
            [passes, np.zeros_like(passes), np.ones_like(passes), np.full_like(passes, 50), 1 - passes / 4], 1
        )
        columns = ("loss", "deviation", "batches", "examples", "accuracy")
        signals["val/loss", ("loss", 1)] = (columns, when, rows)
    entities = [Loss(id=0, source="backward", function=site["function"]), Loss(id=1, **site)]
    return make_run(entities=entities, signals=signals, meta={"steps": STEPS})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("val_loss 0.5\nval_loss 0.25\n", 0.25),
        ("val_loss: 1e-3 acc 0.9", 1e-3),
        ("step 3, val_loss=-2.5;", -2.5),
        ('{"val_loss": 0.75}', 0.75),
        ("val_loss nan", math.nan),
        ("val_loss -inf", -math.inf),
        ("METRIC val_loss 7", 7.0),
        ("my_val_loss 3", None),
        ("val_loss_ema 3", None),
        ("val_loss is falling", None),
        ("", None),
    ],
)
def test_a_printed_number_is_found_by_its_name(text: str, value: float | None) -> None:
    found = printed(text, "val_loss")
    assert found == value or (value is not None and found is not None and math.isnan(value) and math.isnan(found))


def test_levels_are_means_of_the_end() -> None:
    passes = np.linspace(1.5, 0.2, 10)
    levels = read(trained(FALLING, passes)).levels
    assert levels[reading.TRAINING_LOSS] == pytest.approx(FALLING[-10:].mean())
    assert levels[reading.VALIDATION_LOSS] == pytest.approx(passes[-1])
    assert levels[reading.VALIDATION_ACCURACY] == pytest.approx(1 - passes[-1] / 4)


def test_a_training_that_ends_not_finite_has_no_finite_level() -> None:
    losses = FALLING.copy()
    losses[-5:] = np.nan
    assert math.isnan(read(trained(losses)).levels[reading.TRAINING_LOSS])


def outcome(kind: Kind | None = None, **levels: float) -> Outcome:
    named = {name.replace("_", " "): level for name, level in levels.items()}
    return Outcome("arm", 0, "finished", steps=10, levels=named, kind=kind or Kind("cross_entropy", "mean"))


def test_the_validation_loss_comes_before_the_training_loss() -> None:
    both = outcome(validation_loss=1.0, training_loss=1.0)
    assert yardstick.choose(both, [both], None, "lower").name == reading.VALIDATION_LOSS
    assert yardstick.choose(both, [outcome(training_loss=1.0)], None, "lower").name == reading.TRAINING_LOSS


@pytest.mark.parametrize(
    "other",
    [
        Kind("cross_entropy", "sum"),
        Kind("cross_entropy", "mean", squashed=True),
        Kind("nll_loss", "mean"),
        Kind("cross_entropy", "mean", altered=True),
    ],
)
def test_a_loss_that_is_another_one_is_not_compared(other: Kind) -> None:
    before = outcome(validation_loss=1.0, validation_accuracy=0.5)
    after = outcome(other, validation_loss=0.1, validation_accuracy=0.9)
    found = yardstick.choose(before, [after], None, "lower")
    assert (found.name, found.better) == (reading.VALIDATION_ACCURACY, "higher")
    assert "changes what the loss is" in found.because
    assert not Yardstick(reading.VALIDATION_LOSS, "lower").measures(before, after)


def test_targets_in_another_unit_make_another_loss() -> None:
    metres, feet = Kind("mse_loss", "mean", target_spread=1.0), Kind("mse_loss", "mean", target_spread=3.28)
    assert not metres.comparable(feet)
    assert metres.comparable(Kind("mse_loss", "mean", target_spread=1.1))


def test_without_anything_in_common_a_number_is_asked_for() -> None:
    with pytest.raises(NoYardstickError, match=r"--metric NAME"):
        yardstick.choose(outcome(training_loss=1.0), [outcome(Kind("l1_loss"), training_loss=0.1)], None, "lower")


def test_two_players_have_no_yardstick() -> None:
    game = Outcome("arm", 0, "finished", steps=10, levels={reading.TRAINING_LOSS: 1.0}, players=2)
    with pytest.raises(NoYardstickError, match="two networks play against each other"):
        yardstick.choose(game, [], None, "lower")


def test_a_failed_run_does_not_decide_what_is_compared() -> None:
    lost = Outcome("original", 0, "stopped early", steps=5, levels={reading.TRAINING_LOSS: math.nan})
    fine = outcome(validation_loss=1.0, training_loss=1.0)
    assert yardstick.choose(lost, [fine], None, "lower").name == reading.VALIDATION_LOSS
    assert math.isnan(lost.level(reading.TRAINING_LOSS))


def test_runs_that_were_all_given_up_lack_no_number() -> None:
    lost = Outcome("original", 0, "stopped early", steps=5)
    assert yardstick.choose(lost, [lost], "accuracy", "higher") == Yardstick("printed accuracy", "higher")
    with pytest.raises(NoYardstickError, match="no run printed a number called 'accuracy'"):
        yardstick.choose(lost, [outcome(training_loss=1.0)], "accuracy", "higher")


def test_kinds_are_read_off_the_loss() -> None:
    squashed = read(trained(FALLING, prediction_op="SoftmaxBackward0")).kind
    assert squashed.squashed
    assert not read(trained(FALLING, prediction_op="AddmmBackward0")).kind.squashed
    regression: dict[str, Any] = {"function": "mse_loss", "classes": None}
    wrong = trained(FALLING, prediction_shape=(8, 1), target_shape=(8,), **regression)
    right = trained(FALLING, prediction_shape=(8,), target_shape=(8,), **regression)
    assert read(wrong).kind.broadcast
    assert not read(right).kind.broadcast
