"""The summary of a network in the reports."""

import io

import pytest

from vivavoce.examine.verdict import Verdict
from vivavoce.record.entities import Model, Module
from vivavoce.report import html, text
from vivavoce.report.build import build_report
from vivavoce.testing.runs import make_run

OUTCOME = Verdict("healthy", (), "It learned.", (), ())


def report(count=2, calls=1):
    modules = [
        Module(id=0, model=0, name="", class_name="Net"),
        Module(id=1, model=0, name="body", class_name="Sequential"),
        *(
            Module(
                id=2 + i, model=0, name=f"body.{i}", class_name="Linear", parameters=72, input_shape=(64, 8) if calls else (),
                output_shape=(64, 8) if calls else (), calls=calls, multiply_adds=64 * 64 * calls,
            )
            for i in range(count)
        ),
        Module(id=900, model=0, name="body.relu", class_name="ReLU", calls=calls),
        Module(id=901, model=0, name="body > relu", class_name="relu", functional=True),
    ]  # fmt: skip
    entities = [Model(id=0, name="Net", class_name="Net", parameters=72 * count, trainable=72 * count), *modules]
    return build_report(make_run(meta={"steps": 10, "run": "r"}, entities=entities), OUTCOME)


def test_text_lists_modules_with_shapes_parameters_and_cost():
    page = text.to_string(report(calls=3), 120)
    line = next(line for line in page.splitlines() if "body.1" in line)
    assert line.split() == ["body.1", "(Linear),", "3", "calls", "64", "×", "8", "64", "×", "8", "72", "12,288"]
    assert any(line.split() == ["all", "144", "24,576"] for line in page.splitlines())
    assert "Sequential" not in page


def test_long_networks_are_cut_in_text_and_folded_on_the_page():
    long = report(60)
    page = text.to_string(long, 120)
    assert "… and 41 more modules: viva report --format html" in page
    stream = io.StringIO()
    html.write(long, stream)
    assert "<summary>Modules of Net" in stream.getvalue()
    assert stream.getvalue().count("(Linear)") == 60


@pytest.mark.parametrize("write", [lambda r, s: text.write(r, s, 100), html.write])
def test_networks_that_were_never_seen_at_work_have_no_summary(write):
    stream = io.StringIO()
    write(report(calls=0), stream)
    assert "multiply-adds" not in stream.getvalue()
