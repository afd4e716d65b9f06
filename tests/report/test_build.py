import json
import math
from importlib import resources

import jsonschema
import pytest

from tests.report.samples import EXPLODING, NOTE, STEPS, exploding_run, report_of
from vivavoce.examine.verdict import Verdict
from vivavoce.record.entities import Loss
from vivavoce.report.build import build_report, iso_time
from vivavoce.report.json import write
from vivavoce.testing.runs import make_run

SCHEMA = json.loads(resources.files("vivavoce.report").joinpath("schema-1.json").read_text(encoding="utf-8"))


def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize(
    "report",
    [
        report_of(EXPLODING, NOTE, path="run.db"),
        report_of(outcome="healthy", reason="Nothing found."),
        report_of(outcome="no-training", reason="No step.", run=make_run()),
    ],
    ids=["findings", "healthy", "empty"],
)
def test_reports_are_valid(report):
    validator().validate(report)


def test_the_schema_refuses_a_missing_key_and_a_raw_nan():
    report = report_of(EXPLODING)
    del report["run"]["overhead"]
    assert not validator().is_valid(report)
    report = report_of(EXPLODING)
    report["metrics"]["train/loss"]["first"] = "not a number"
    assert not validator().is_valid(report)


def test_nan_and_infinity_are_strings_so_that_the_json_is_json(tmp_path):
    report = report_of(EXPLODING)
    with (tmp_path / "report.json").open("w") as stream:
        write(report, stream)
    text = (tmp_path / "report.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == report
    assert report["metrics"]["train/loss"]["last"] == "nan"
    assert report["findings"][0]["evidence"][1]["value"] == "nan"


def test_metrics_name_the_first_last_and_best_value():
    metrics = report_of(EXPLODING)["metrics"]
    assert metrics["train/loss"]["first"] == 2.0
    assert metrics["train/loss"]["best_step"] == 273  # the last finite one of a falling loss
    assert metrics["val/loss"] == {"first": 1.5, "last": 1.2, "best": 1.2, "best_step": 199}
    assert "val/accuracy" not in metrics, "an accuracy that is always NaN is no metric"


def test_the_best_accuracy_is_the_largest():
    run = make_run(
        entities=[Loss(id=0, source="function")],
        signals={("train/accuracy", ("loss", 0)): (["accuracy"], [0, 1, 2], [0.2, 0.9, 0.4])},
    )
    metric = build_report(run, Verdict("healthy", (), ""))["metrics"]["train/accuracy"]
    assert (metric["best"], metric["best_step"]) == (0.9, 1)


def test_a_loss_that_was_never_finite_has_no_best_step():
    run = make_run(
        entities=[Loss(id=0, source="backward")],
        signals={("train/loss", ("loss", 0)): (["loss"], [0, 1], [math.nan, math.inf])},
    )
    metric = build_report(run, Verdict("unknown", (), ""))["metrics"]["train/loss"]
    assert metric == {"first": "nan", "last": "inf", "best": "nan", "best_step": None}


def test_the_run_is_described():
    run = report_of(EXPLODING)["run"]
    assert run["command"] == "train.py --length 100"
    assert run["started"] == "1970-01-01T00:00:00+00:00"
    assert run["steps"] == STEPS
    assert run["models"][0]["trainable"] == 90
    assert run["optimizers"][0]["learning_rate"] == [0.01]
    assert run["optimizers"][0]["settings"] == [{"learning_rate": 0.01, "momentum": 0.9}]
    assert run["optimizers"][0]["step_site"] == {"file": "/home/me/train.py", "line": 57}
    assert [loss["function"] for loss in run["losses"]] == ["mse_loss"]


def test_a_finding_says_when_it_was_first_seen_live():
    assert report_of(EXPLODING)["findings"][0]["first_seen"] == 231
    assert "first_seen" not in report_of(NOTE)["findings"][0]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [(None, None), ("2026-11-22T10:00:00", "2026-11-22T10:00:00"), (60, "1970-01-01T00:01:00+00:00")],
)
def test_times_are_iso(moment, expected):
    assert iso_time(moment) == expected


def test_building_reads_the_run_alone():
    run = exploding_run()
    before = dict(run.meta)
    build_report(run, Verdict("healthy", (), ""))
    assert run.meta == before
