"""Which arm is taken, and where a search among learning rates goes on."""

from __future__ import annotations

import math

import pytest

from vivavoce.remedy.catalogue import by_name
from vivavoce.remedy.remedy import Prescription
from vivavoce.repair import choice
from vivavoce.repair.arm import Arm, widely
from vivavoce.repair.outcome import Found, Outcome
from vivavoce.repair.reading import TRAINING_LOSS
from vivavoce.repair.yardstick import Yardstick

MEASURE = Yardstick(TRAINING_LOSS, "lower")
PLACE = {"file": "train.py", "line": 3, "optimizer": "SGD"}


def arm(rate: float, loss: float, kind: str = "remedy", **more: object) -> Arm:
    prescription = Prescription(
        "lower-learning-rate",
        "learning-rate-too-high",
        f"lower the learning rate of SGD to {rate:g}",
        {"lr": rate},
        PLACE,
    )
    found = Arm(f"rate {rate:g}", kind, (prescription,))  # type: ignore[arg-type]
    found.outcomes[0] = Outcome(found.name, 0, "finished", steps=9, levels={TRAINING_LOSS: loss}, **more)  # type: ignore[arg-type]
    return found


BASE = arm(1.0, 8.0, "original")


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0.3: 4.0, 0.1: 2.0}, (0.1, 1 / 3)),  # the lowest is the best: further down
        ({0.1: 2.0, 0.001: 1.0}, (0.001, 0.1)),  # by ten at most
        ({0.3: 2.0, 0.1: 1.0, 0.03: 1.5}, None),  # between others
        ({0.3: 1.04, 0.1: 1.0}, None),  # hardly better than its neighbour
        ({0.3: math.nan, 0.1: 1.0}, (0.1, 1 / 3)),
        ({0.1: 1.0}, None),
        ({0.3: 9.0, 0.1: 9.5}, None),  # none is better than the script as it is
    ],
)
def test_a_search_goes_on_where_the_outermost_rate_is_the_best(
    losses: dict[float, float], expected: tuple[float, float] | None
) -> None:
    best, factor = choice.outermost([arm(rate, loss) for rate, loss in losses.items()], BASE, MEASURE)
    if expected is None:
        assert best is None
    else:
        assert best is not None
        assert best.prescriptions[-1].numbers["lr"] == expected[0]
        assert factor == pytest.approx(expected[1])


def test_of_one_remedy_the_best_value_is_taken_of_two_that_are_near_the_first_in_the_plan() -> None:
    first, second = arm(0.3, 1.2), arm(0.1, 1.0)
    other = arm(0.0, 1.02)
    other.prescriptions = (Prescription("clip-norm", "learning-rate-too-high", "clip"),)
    assert choice.ranked([first, second, other], BASE, MEASURE) == [second, other, first]
    assert choice.ranked([other, first, second], BASE, MEASURE) == [other, second, first]


def test_a_rate_goes_further_with_its_title_and_with_those_of_other_optimizers() -> None:
    also = [{"file": "train.py", "line": 9, "optimizer": "Adam", "numbers": {"lr": 0.2}}]
    title = "lower every learning rate: SGD to 0.1 and Adam to 0.2"
    given = Prescription("lower-learning-rate", "slug", title, {"lr": 0.1}, {**PLACE, "also": also})
    found = by_name("lower-learning-rate").further(given, 0.1)
    assert found is not None
    assert found.title == "lower every learning rate: SGD to 0.01 and Adam to 0.02"
    assert (found.numbers["lr"], found.where["also"][0]["numbers"]["lr"]) == (0.01, 0.02)
    assert also[0]["numbers"] == {"lr": 0.2}
    assert by_name("zero-grad").further(Prescription("zero-grad", "slug", ""), 0.1) is None


def test_a_cure_at_run_time_may_still_be_seen_by_the_taps_but_an_edit_may_not() -> None:
    treated = Prescription("zero-grad", "gradients-not-zeroed", "clear the gradients")
    outcome = Outcome("a", 0, "finished", steps=9, findings=(Found("gradients-not-zeroed", "critical", ""),))
    live, edited = Arm("a", "remedy", (treated,), {}, {0: outcome}), Arm("b", "patched", (treated,), {}, {0: outcome})
    assert choice.cured(live)
    assert not choice.cured(edited)


def test_a_finding_that_names_the_rate_has_several_of_its_values_tried_first() -> None:
    slug = "learning-rate-too-high"
    rates = [Prescription("lower-learning-rate", slug, f"rate {n}") for n in range(4)]
    planned = widely([*rates, Prescription("adam", slug, "Adam"), Prescription("adam", slug, "Adam 2")])
    assert [p.title for p in planned] == ["rate 0", "rate 1", "rate 2", "Adam", "rate 3", "Adam 2"]


def test_a_rate_that_is_nearly_another_one_is_not_tried() -> None:
    tried, near, far = (arm(rate, 1.0).prescriptions[0] for rate in (0.0069, 0.0066, 0.0022))
    other = Prescription("lower-learning-rate", "learning-rate-too-high", "of Adam", {"lr": 0.0066}, {"line": 9})
    assert choice.apart([near, far, other], [tried]) == [far, other]
