"""The checks of a preflight in the reports for people."""

import io

import pytest

from tests.report.samples import META
from vivavoce.examine.verdict import Verdict
from vivavoce.record.entities import Event
from vivavoce.report import html, markdown, text
from vivavoce.report.build import build_report
from vivavoce.testing.runs import make_run

CHECKS = [
    {"name": "first-loss", "status": "ok", "why": "the first loss is ln 3", "numbers": {}},
    {"name": "learning-rate", "status": "suspicious", "why": "useful rates end at <0.1>", "numbers": {}},
    {"name": "parameters-move", "status": "failed", "why": "a | b did not move", "numbers": {}},
    {"name": "overfits-one-batch", "status": "unchecked", "why": "the model is compiled", "numbers": {}},
]
SAID = ["ok", "suspicious", "FAILED", "not checked", "ln 3", "because the model is compiled", "first-loss"]


def written(writer, checks):
    data = {"steps": 20, "seconds": 1.25, "checks": checks}
    events = [Event(20, 1.0, "preflight", data)] if checks else []
    report = build_report(make_run(meta=META, events=events), Verdict("healthy", (), "Nothing was found."))
    stream = io.StringIO()
    writer(report, stream)
    return stream.getvalue()


@pytest.mark.parametrize("writer", [text.write, markdown.write, html.write], ids=["text", "markdown", "html"])
def test_every_check_is_shown_with_its_result_and_reason(writer):
    shown = written(writer, CHECKS)
    assert [words for words in [*SAID, "20 steps of the script"] if words not in shown] == []
    assert "preflight" not in written(writer, []).lower()


def test_text_of_a_check_is_escaped():
    assert "&lt;0.1&gt;" in written(html.write, CHECKS)
    assert r"a \| b did not move" in written(markdown.write, CHECKS)
