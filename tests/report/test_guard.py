"""What the guard did, in the reports for people and for machines."""

import io
import json

import jsonschema
import pytest

from tests.report.samples import META
from tests.report.test_build import SCHEMA
from vivavoce.attach.session import Status
from vivavoce.cli.live import words as live_words
from vivavoce.examine.verdict import Verdict
from vivavoce.record.entities import Event
from vivavoce.report import html, markdown, text
from vivavoce.report import json as json_report
from vivavoce.report.build import build_report
from vivavoce.testing.runs import make_run

ALLOWED = ["clip", "rewind", "skip-batch"]
CLIPS = [
    Event(step, 1.0, "guard", {"act": "clip", "why": f"norm <{step}> stood out", "norm": 9.0, "to": 2.0})
    for step in (7, 9, 40)
]
REWIND = Event(50, 2.0, "guard", {"act": "rewind", "why": "the gradient of a|b is not finite", "to_step": 48})
END = Event(60, 3.0, "guard", {"act": "gave-up", "why": "nothing helps"})


def report_of(*events, guard=ALLOWED):
    meta = META if guard is None else {**META, "guard": guard}
    return build_report(make_run(meta=meta, events=events), Verdict("healthy", (), "Nothing was found."))


def written(writer, report):
    stream = io.StringIO()
    writer(report, stream)
    return " ".join(stream.getvalue().split())


WRITERS = [text.write_card, text.write, markdown.write, html.write]


@pytest.mark.parametrize("writer", WRITERS, ids=["card", "text", "markdown", "html"])
def test_each_kind_of_act_is_shown_with_how_often_when_and_why(writer):
    shown = written(writer, report_of(*CLIPS, REWIND))
    for part in ("acted 4 times", "clip", "3 ×", "7–40", "stood out", "rewind", "1 ×", "50", "is not finite"):
        assert part in shown, part
    assert "gave up" not in shown
    assert "gave up: nothing helps" in written(writer, report_of(REWIND, END))
    assert "t did not act: nothing helps" in written(writer, report_of(END))
    assert "never had to act" in written(writer, report_of())
    assert "guard" not in written(writer, report_of(guard=None)).lower()


def test_the_data_follow_the_schema():
    report = report_of(*CLIPS, REWIND, END)
    jsonschema.validate(json.loads(written(json_report.write, report)), SCHEMA)
    assert report["guard"]["allowed"] == ALLOWED
    assert [(act["step"], act["act"]) for act in report["guard"]["acts"]][-2:] == [(50, "rewind"), (60, "gave-up")]
    assert report["guard"]["gave_up"] == "nothing helps"


def test_reasons_are_escaped():
    assert "&lt;7&gt;" in written(html.write, report_of(*CLIPS))
    assert r"a\|b" in written(markdown.write, report_of(REWIND))


def test_the_live_line_counts_the_acts():
    status = Status(step=10, loss=1.0, gradient_norm=2.0, overhead=None, worst=None, severity=None, guarded=1200)
    assert live_words(status, 120).endswith("guard acted 1,200 ×")
    assert "guard" not in live_words(Status(10, 1.0, 2.0, None, None, None), 120)
