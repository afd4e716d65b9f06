import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.report.samples import EXPLODING, NOTE, SECOND, hostile_report_and_run, report_of
from vivavoce.examine.finding import RuledOut
from vivavoce.report import junit, markdown, notebook, sarif


def written(module, report):
    stream = io.StringIO()
    module.write(report, stream)
    return stream.getvalue()


def sarif_run(report):
    return json.loads(written(sarif, report))["runs"][0]


def test_sarif_places_a_finding_at_its_line():
    (result,) = sarif_run(report_of(EXPLODING))["results"]
    assert (result["ruleId"], result["level"]) == ("exploding-gradients", "error")
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "file:///home/me/train.py"
    assert location["region"] == {"startLine": 57}


def test_sarif_paths_below_the_current_folder_are_relative():
    where = EXPLODING.where.__class__(file=str(Path.cwd() / "a b" / "train.py"), line=3)
    (result,) = sarif_run(report_of(EXPLODING.with_(where=where)))["results"]
    artifact = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact == {"uri": "a%20b/train.py", "uriBaseId": "%SRCROOT%"}


def test_sarif_keeps_findings_without_a_line_as_notifications():
    run = sarif_run(report_of(EXPLODING, SECOND))
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["associatedRule"]["id"] == "overfitting"
    assert notification["level"] == "warning"


def test_sarif_rules_are_listed_once_and_have_help():
    rules = sarif_run(report_of(EXPLODING, EXPLODING.with_(primary=False), SECOND))["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["exploding-gradients", "overfitting"]
    assert all(rule["help"]["text"] for rule in rules)


def suite_of(report):
    return ElementTree.fromstring(written(junit, report)).find("testsuite")


def test_junit_has_a_case_for_everything_examined():
    report = report_of(EXPLODING)
    suite = suite_of(report)
    names = [case.get("name") for case in suite.findall("testcase")]
    assert set(report["examined"]) | {"exploding-gradients", "bad-input"} == set(names)
    assert len(names) == len(set(names)) == int(suite.get("tests"))


def test_junit_fails_on_warnings_but_not_on_notes():
    suite = suite_of(report_of(EXPLODING, SECOND, NOTE))
    failed = [case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None]
    assert sorted(failed) == ["exploding-gradients", "overfitting"]
    assert suite.get("failures") == "2"


@pytest.mark.parametrize("outcome", ["unknown", "no-training"])
def test_junit_does_not_pass_what_could_not_be_judged(outcome):
    suite = suite_of(report_of(outcome=outcome, reason="Too few steps."))
    assert suite.get("skipped") == suite.get("tests") != "0"


def test_markdown_has_the_findings_tables_and_code():
    page = written(markdown, report_of(EXPLODING))
    assert "# The gradients explode" in page
    assert "| growth | 1.1 per step | 1.02 per step | closed form |" in page
    assert "```python\nloss.backward()\nclip_grad_norm_(parameters, 0.9)\n```" in page
    assert "| validation loss | 1.5 | 1.2 | 1.2 | 199 |" in page


def test_markdown_escapes_what_the_run_says():
    page = written(markdown, hostile_report_and_run()[0])
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
    assert "<script" not in rendered
    assert "&lt;script&gt;" in rendered
    assert rendered.count("<tr>") == 2 + 2, "a bar in a cell must not make a row or column"


def test_code_that_holds_ticks_is_fenced_with_more():
    assert markdown.code("a`b") == "``a`b``"
    assert markdown.fenced("```", "python").startswith("````python")


@pytest.mark.parametrize("module", [markdown, sarif, junit])
def test_hostile_text_breaks_no_format(module):
    text = written(module, hostile_report_and_run()[0])
    assert "\x1b" not in text
    if module is junit:
        ElementTree.fromstring(text)
    if module is sarif:
        json.loads(text)


def test_the_notebook_card_has_no_script_and_escapes_the_run():
    fragment = notebook.html_fragment(hostile_report_and_run()[0])
    assert "<script" not in fragment
    assert "&lt;script&gt;" in fragment
    ElementTree.fromstring(fragment)


def test_the_notebook_card_tells_the_verdict():
    fragment = notebook.html_fragment(report_of(EXPLODING))
    assert "The gradients explode" in fragment
    assert "clip_grad_norm_" in fragment
    healthy = notebook.html_fragment(report_of(outcome="healthy", reason="Nothing found."))
    assert "Nothing found." in healthy


def test_ruled_out_causes_of_the_verdict_are_in_the_report():
    report = report_of(outcome="healthy", ruled_out=(RuledOut("guessing", "loss 0.3 below chance"),))
    assert report["ruled_out"] == [{"slug": "guessing", "because": "loss 0.3 below chance"}]
