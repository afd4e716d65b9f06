import pytest

from vivavoce.attach.session import Session
from vivavoce.testing.taps import FAULTS, TRAININGS, check, check_faults


@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)
def test_conforms(training, tmp_path):
    check(training, tmp_path)


@pytest.mark.parametrize(("tap", "training"), FAULTS, ids=lambda value: getattr(value, "name", value))
def test_survives(tap, training, tmp_path):
    check_faults(tap, training, tmp_path)


def test_no_tap_is_left_out():
    assert {tap.name for tap in Session().taps} - {"preflight"} <= {name for name, _ in FAULTS}
