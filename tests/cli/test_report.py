import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner

from tests.cli.stores import record, record_broken
from vivavoce.cli.report import command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / ".viva", "2026-11-20-calm-heron", started=1000.0)
    record_broken(tmp_path / ".viva", "2026-11-21-lively-otter", started=2000.0)
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(command, list(arguments), prog_name="viva report")


def test_the_latest_run_is_reported(folder):
    result = call()
    assert result.exit_code == 0
    assert result.stdout.startswith("viva ▸ non-finite   critical")
    assert "2026-11-21-lively-otter.db" in result.stdout


def test_a_run_is_found_by_a_part_of_its_name(folder):
    report = json.loads(call("heron", "--format", "json").stdout)
    assert report["run"]["id"] == "2026-11-20-calm-heron"
    assert report["metrics"]["train/loss"]["first"] == 2.0


@pytest.mark.parametrize("kind", ["json", "sarif"])
def test_standard_output_holds_nothing_but_the_report(folder, kind):
    assert isinstance(json.loads(call("--format", kind).stdout), dict)


def test_junit_and_markdown_go_to_standard_output(folder):
    assert ElementTree.fromstring(call("--format", "junit").stdout_bytes).tag == "testsuites"
    assert "# Values became NaN or infinite" in call("--format", "markdown").stdout


def test_html_goes_to_a_file_named_after_the_run(folder):
    result = call("--format", "html")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "wrote 2026-11-21-lively-otter.html" in result.stderr
    assert (folder / "2026-11-21-lively-otter.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_html_may_go_to_standard_output(folder):
    assert call("--format", "html", "-o", "-").stdout.startswith("<!doctype html>")
    assert list(folder.glob("*.html")) == []


@pytest.mark.parametrize("kind", ["text", "json", "html", "markdown", "sarif", "junit"])
def test_an_earlier_report_is_replaced_but_nothing_else_is(folder, kind):
    assert call("--format", kind, "-o", "report").exit_code == 0
    with (folder / "report").open("a") as file:
        file.write(" ")
    assert call("--format", kind, "-o", "report").exit_code == 0
    assert not (folder / "report").read_text(encoding="utf-8").endswith(" ")

    (folder / "report").write_text("my notes")
    result = call("--format", kind, "-o", "report")
    assert result.exit_code == 2
    assert "--force overwrites it" in result.stderr
    assert (folder / "report").read_text() == "my notes"
    assert call("--format", kind, "-o", "report", "--force").exit_code == 0
    assert (folder / "report").read_text(encoding="utf-8") != "my notes"


@pytest.mark.parametrize("target", [".viva", "no/such/folder/report.json"])
def test_a_target_that_cannot_be_written_is_a_usage_error(folder, target):
    result = call("--format", "json", "-o", target)
    assert result.exit_code == 2
    assert target in result.stderr


@pytest.mark.parametrize(
    ("run", "level", "status"), [("otter", "critical", 3), ("otter", "note", 3), ("heron", "critical", 0)]
)
def test_fail_on_sets_the_exit_status_after_the_report(folder, run, level, status):
    result = call(run, "--format", "json", "--fail-on", level)
    assert result.exit_code == status
    assert json.loads(result.stdout)["schema"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "no run 'nobody'"),
        (["lively-oter"], "did you mean"),
        (["--format", "yaml"], "yaml"),
        (["missing/run.db"], "there is no run at missing/run.db"),
        (["./"], "./ is a folder, not a run; --dir names a folder of runs"),
        (["notes.txt"], "is not a Vivavoce run"),
    ],
)
def test_errors_are_usage_errors(folder, arguments, message):
    (folder / "notes.txt").write_text("hello")
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Try 'viva report --help'" in result.stderr
    assert message in result.stderr


def test_without_any_run_it_says_how_to_record_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call()
    assert result.exit_code == 2
    assert "viva run SCRIPT" in result.stderr


def test_another_folder_may_be_named(folder, monkeypatch):
    monkeypatch.chdir("/")
    assert call("--dir", str(folder / ".viva"), "otter", "--format", "json").exit_code == 0


def test_a_run_that_goes_on_is_reported_and_said_to_go_on(folder):
    record(folder / ".viva", "2026-11-22-early-bird", started=3000.0, finished=None, pid=os.getpid())
    assert "still running" in call().stdout
    result = call("--format", "json")
    assert json.loads(result.stdout)["run"]["state"] == "running"
    assert "still going" in result.stderr


def test_no_command_that_reads_runs_imports_torch(folder):
    code = (
        "import sys; from click.testing import CliRunner\n"
        "from vivavoce.cli import report, runs, compare, explain\n"
        "calls = [(report, ['--format', kind, '-o', '-']) for kind in report.FORMATS]\n"
        "calls += [(runs, []), (compare, ['otter', 'heron']), (explain, []), (explain, ['overfitting'])]\n"
        "results = [CliRunner().invoke(module.command, arguments) for module, arguments in calls]\n"
        "assert all(result.exit_code == 0 for result in results), results\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
