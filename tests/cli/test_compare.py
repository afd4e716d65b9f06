import json

import numpy as np
import pytest
from click.testing import CliRunner

from tests.cli.stores import STEPS, record, record_broken
from vivavoce.cli.compare import command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".viva"


def call(*arguments):
    return CliRunner().invoke(command, list(arguments), prog_name="viva compare")


def compared(*arguments):
    return json.loads(call("--json", *arguments).stdout)


def test_findings_that_appeared_and_disappeared(folder):
    record(folder, "healthy")
    record_broken(folder, "broken")
    forth, back = compared("healthy", "broken"), compared("broken", "healthy")
    assert "non-finite" in forth["appeared"]
    assert forth["disappeared"] == []
    assert (back["appeared"], back["disappeared"]) == (forth["disappeared"], forth["appeared"])
    assert forth["verdicts"] == {"a": "healthy", "b": "findings"}


def test_the_first_step_at_which_the_losses_differ(folder):
    loss = np.linspace(2.0, 0.1, STEPS)
    record(folder, "one", loss=loss)
    changed = loss.copy()
    changed[123] = np.nextafter(changed[123], 3.0)
    record(folder, "two", loss=changed)
    difference = compared("one", "two")["first_difference"]
    assert difference == {"step": 123, "compared": STEPS, "a": loss[123], "b": changed[123]}
    assert "differ first at step 123" in call("one", "two").stdout


def test_equal_runs_are_equal_even_in_their_nan(folder):
    record_broken(folder, "one")
    record_broken(folder, "two")
    comparison = compared("one", "two")
    assert comparison["first_difference"] == {"step": None, "compared": STEPS, "a": None, "b": None}
    assert comparison["settings"] == []
    assert f"the same in all {STEPS} rows" in call("one", "two").stdout


def test_runs_of_different_length_are_compared_as_far_as_both_go(folder):
    loss = np.linspace(2.0, 0.1, STEPS)
    record(folder, "long", loss=loss)
    record(folder, "short", loss=loss[:50])
    assert compared("long", "short")["first_difference"] == {"step": None, "compared": 50, "a": None, "b": None}


def test_settings_that_differ(folder):
    record(folder, "one", learning_rate=0.1)
    record(folder, "two", learning_rate=0.2, torch="2.12.0")
    settings = compared("one", "two")["settings"]
    assert {"name": "optimizer 0 learning_rate", "a": 0.1, "b": 0.2} in settings
    assert {"name": "torch", "a": "2.13.0", "b": "2.12.0"} in settings
    assert len(settings) == 2
    assert "optimizer 0 learning_rate" in call("one", "two").stdout


def test_a_missing_run_is_a_usage_error(folder):
    record(folder, "one")
    result = call("one", "other")
    assert result.exit_code == 2
    assert "Try 'viva compare --help'" in result.stderr
    assert call("one").exit_code == 2
