import json
import os

import pytest
from click.testing import CliRunner

from tests.cli.stores import STEPS, record, record_broken
from tests.report.test_state import gone_process
from vivavoce.cli.runs import command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".viva"


def call(*arguments):
    return CliRunner().invoke(command, list(arguments), prog_name="viva runs")


def rows(*arguments):
    return json.loads(call("--json", *arguments).stdout)["runs"]


def test_without_runs_it_says_how_to_record_one(folder):
    result = call()
    assert result.exit_code == 0
    assert "viva run SCRIPT" in result.stdout
    assert rows() == []


def test_runs_are_listed_newest_first_with_verdict_and_state(folder):
    record(folder, "2026-11-20-calm-heron", started=1000.0)
    record_broken(folder, "2026-11-21-lively-otter", started=2000.0)
    head, first, second = call().stdout.splitlines()
    assert head.split() == ["run", "started", "script", "steps", "verdict", "state"]
    assert first.split()[0] == "2026-11-21-lively-otter"
    assert "non-finite" in first
    assert second.split()[-2:] == ["healthy", "finished"]
    assert [row["steps"] for row in rows()] == [STEPS, STEPS]


def test_running_and_killed_runs_are_told_apart(folder):
    record(folder, "a", started=1.0, finished=None, pid=os.getpid())
    record(folder, "b", started=2.0, finished=None, pid=gone_process())
    assert [(row["name"], row["state"]) for row in rows()] == [("b", "killed"), ("a", "running")]


def test_a_store_that_cannot_be_read_does_not_hide_the_others(folder):
    record(folder, "good")
    damaged = record(folder, "damaged")
    damaged.write_bytes(damaged.read_bytes()[:4096] + b"\xff" * 4096)
    (folder / "notes.db").write_text("no store at all")
    found = {row["name"]: row["error"] for row in rows()}
    assert set(found) == {"good", "damaged"}
    assert found["good"] is None
    assert "damaged" in found["damaged"]
    assert call().exit_code == 0


def test_only_the_newest_are_shown_unless_more_are_asked_for(folder):
    for index in range(3):
        record(folder, f"run-{index}", started=float(index))
    assert [row["name"] for row in rows("-n", "2")] == ["run-2", "run-1"]
    assert "and 1 older" in call("-n", "2").stdout
    assert call("-n", "0").exit_code == 2
