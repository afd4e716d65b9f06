"""What is said of rules that were held against a run's predictions."""

import math

import pytest

from vivavoce.examine.finding import Finding, RuledOut
from vivavoce.examine.rule_violated import RuleViolated
from vivavoce.measure.confusion_scores import wilson
from vivavoce.record.entities import Loss, Rule, Site
from vivavoce.testing.runs import make_run

COUNTS = ("broken", "checked", "worst", "targets_broken", "targets_checked")
LOSS = Loss(id=3, source="function", function="mse_loss", site=Site("/home/user/train.py", 12))
NAN = math.nan


def examined(signals, rules=("prediction > 0",), unfit=""):
    entities = [LOSS, *(Rule(id=i, text=text, loss=3, unfit=unfit) for i, text in enumerate(rules))]
    run = make_run(
        meta={"steps": 100},
        entities=entities,
        signals={(name, ("rule", i)): (COUNTS, steps, rows) for (name, i), (steps, rows) in signals.items()},
    )
    return list(RuleViolated().examine(run))


def test_violations_in_the_second_half_count():
    signals = {("rule", 0): ([10, 60, 90], [[64, 64, 9.0, 0, 64], [6, 50, 2.5, 0, 50], [4, 50, 1.0, 0, 50]])}
    (finding,) = examined(signals)
    assert isinstance(finding, Finding)
    assert finding.severity == "warning"
    rate = wilson(10, 100)
    assert "10.0% of 100 training predictions" in finding.why
    assert f"{float(rate.low):.1%} to {float(rate.high):.1%}" in finding.why
    assert "by up to 2.5" in finding.why
    assert (finding.where.file, finding.where.line) == ("/home/user/train.py", 12)
    assert {remedy.slug for remedy in finding.remedies} == {"project", "penalty", "check-labels"}


def test_a_rule_learned_on_the_way_is_excluded():
    signals = {("rule", 0): ([10, 60, 90], [[64, 64, 9.0, 0, 64], [0, 50, 0, 0, 50], [0, 50, 0, NAN, NAN]])}
    (result,) = examined(signals)
    assert isinstance(result, RuledOut)
    assert "100 predictions checked obey prediction > 0" in result.because


def test_validation_goes_before_training():
    training, validation = ([60], [[0, 50, 0, NAN, NAN]]), ([60], [[1, 200, 0.1, NAN, NAN]])
    (finding,) = examined({("rule", 0): training, ("val/rule", 0): validation})
    assert finding.severity == "note"  # half a per cent
    assert "of 200 validation predictions" in finding.why


def test_targets_that_break_it_are_named_instead():
    (finding,) = examined({("rule", 0): ([60], [[30, 50, 9.0, 20, 50]])})
    assert finding.severity == "note"
    assert "20 of 50 targets" in finding.why


def test_a_rule_that_was_never_checked_says_why():
    (finding,) = examined({}, unfit="prediction[2] does not exist: prediction has shape (8, 2)")
    assert finding.severity == "note"
    assert "prediction[2] does not exist" in finding.why


@pytest.mark.parametrize("broken", [0, 5])
def test_each_rule_is_judged_by_itself(broken):
    signals = {("rule", 0): ([60], [[0, 50, 0, 0, 50]]), ("rule", 1): ([60], [[broken, 50, 0.5, 0, 50]])}
    results = examined(signals, ("prediction > 0", "prediction < 1"))
    assert len(results) == 1
    assert isinstance(results[0], Finding if broken else RuledOut)
    assert "prediction < 1" in (results[0].why if broken else results[0].because)


def test_without_rules_nothing_is_said():
    assert list(RuleViolated().examine(make_run(meta={"steps": 100}, entities=[LOSS]))) == []
