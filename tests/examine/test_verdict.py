from vivavoce.examine import examine
from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, RuledOut
from vivavoce.examine.verdict import FEWEST_STEPS, MOST_RIVALS
from vivavoce.record.entities import Loss
from vivavoce.testing.detectors import classifier
from vivavoce.testing.runs import make_run


def ailment(name, *results, explains=()):
    """A detector of `name` that yields `results`: severities (a finding each), reasons (RuledOut), or an exception."""

    def run_through(self, run):
        for result in results:
            if isinstance(result, Exception):
                raise result
            if result in {"critical", "warning", "note"}:
                yield Finding(name, result, 0.5, 1, name, f"{name}.", evidence=(Evidence("n", 1.0),))
            else:
                yield RuledOut(name, result)

    return type(name, (Detector,), {"slug": name, "question": 1, "explains": explains, "examine": run_through})


def slugs(verdict):
    return [finding.slug for finding in verdict.findings]


def test_a_symptom_goes_under_its_cause():
    verdict = examine(
        classifier(), [ailment("cause", "warning", explains=("symptom",)), ailment("symptom", "critical")]
    )
    assert slugs(verdict) == ["cause"]
    assert verdict.findings[0].symptoms == ("symptom",)


def test_the_symptoms_of_a_symptom_go_with_it():
    detectors = [
        ailment("a", "critical", explains=("b",)),
        ailment("b", "critical", explains=("c",)),
        ailment("c", "critical"),
        ailment("d", "warning"),
    ]
    verdict = examine(classifier(), detectors)
    assert slugs(verdict) == ["a", "d"]
    assert verdict.findings[0].symptoms == ("b", "c")


def test_a_note_explains_nothing():
    verdict = examine(classifier(), [ailment("cause", "note", explains=("symptom",)), ailment("symptom", "critical")])
    assert slugs(verdict) == ["symptom", "cause"]


def test_two_that_explain_each_other_do_not_both_vanish():
    verdict = examine(
        classifier(), [ailment("a", "critical", explains=("b",)), ailment("b", "critical", explains=("a",))]
    )
    assert slugs(verdict) == ["a"]
    assert verdict.findings[0].symptoms == ("b",)


def test_causes_first_then_severity_and_notes_last():
    detectors = [
        ailment("n", "note"),
        ailment("first", "warning"),
        ailment("second", "critical"),
        ailment("second", "warning"),
    ]
    verdict = examine(classifier(), detectors)
    assert slugs(verdict) == ["first", "second", "second", "n"]
    assert [finding.severity for finding in verdict.findings] == ["warning", "critical", "warning", "note"]
    assert [finding.primary for finding in verdict.findings] == [True, False, False, False]
    assert verdict.primary is verdict.findings[0]


def test_notes_alone_leave_a_run_healthy_and_nothing_primary():
    verdict = examine(classifier(), [ailment("n", "note")])
    assert verdict.outcome == "healthy"
    assert slugs(verdict) == ["n"]
    assert verdict.primary is None


def test_rivals_are_the_excluded_causes_nearest_first():
    detectors = [
        ailment("far", "far away", explains=("found",)),
        ailment("near", "near by", explains=("found",)),
        ailment("found", "critical", explains=("later",)),
        ailment("sibling", "not that", explains=("later",)),
        ailment("unrelated", "nothing to do with it"),
    ]
    verdict = examine(classifier(), detectors)
    assert [item.slug for item in verdict.findings[0].ruled_out] == ["near", "sibling", "far"]
    assert len(verdict.ruled_out) == 4


def test_a_reader_is_not_given_every_rival():
    rivals = [ailment(f"r{i}", "no", explains=("found",)) for i in range(20)]
    assert len(examine(classifier(), [*rivals, ailment("found", "critical")]).findings[0].ruled_out) == MOST_RIVALS


def test_a_fault_in_a_detector_is_reported_and_the_others_go_on():
    verdict = examine(classifier(), [ailment("broken", "warning", ValueError("no luck")), ailment("found", "critical")])
    assert slugs(verdict) == ["found"]
    assert [(fault.slug, fault.error) for fault in verdict.faults] == [("broken", "ValueError: no luck")]


def test_no_clean_bill_of_health_from_broken_detectors():
    verdict = examine(classifier(), [ailment("broken", ValueError("no luck"))])
    assert verdict.outcome == "unknown"
    assert "broken" in verdict.reason


def test_no_training():
    assert examine(make_run()).outcome == "no-training"
    assert examine(make_run(entities=[Loss(id=0, source="backward")], meta={"steps": 0})).outcome == "no-training"


def test_too_few_steps_to_judge():
    verdict = examine(classifier(steps=FEWEST_STEPS - 1))
    assert verdict.outcome == "unknown"
    assert "too few" in verdict.reason


def test_a_loss_that_rises_without_a_known_reason_is_not_called_healthy():
    steps = range(1, 101)
    losses = [1 + 0.02 * step for step in steps]
    run = make_run(
        entities=[
            Loss(id=0, source="backward", function="mse_loss"),
            Loss(id=1, source="function", function="mse_loss"),
        ],
        signals={
            ("train/loss", ("loss", 0)): (["loss"], steps, losses),
            ("train/function_loss", ("loss", 1)): (["loss"], steps, losses),
        },
    )
    verdict = examine(run, [])
    assert verdict.outcome == "unknown"
    assert "rose from 1.02 to" in verdict.reason
