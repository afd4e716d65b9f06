import pytest

from vivavoce.testing.taps import TAPS, TRAININGS, check


@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)
@pytest.mark.parametrize("tap", TAPS)
def test_conforms(tap, training, tmp_path):
    check(tap, training, tmp_path)
