import pytest

from vivavoce.examine import examine
from vivavoce.examine.catalogue import DETECTORS
from vivavoce.examine.finding import Evidence, Finding, Remedy
from vivavoce.examine.slugs import SLUGS
from vivavoce.testing.detectors import HEALTHY, STRANGE, Case, check, classifier


@pytest.mark.parametrize("case", STRANGE + HEALTHY, ids=lambda case: case.name)
@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.slug)
def test_every_detector_conforms(detector, case):
    check(detector, case)


@pytest.mark.parametrize("case", STRANGE, ids=lambda case: case.name)
def test_a_verdict_on_strange_runs_has_no_faults(case):
    verdict = examine(case.make())
    assert verdict.faults == ()
    assert verdict.reason.endswith(".")


@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.name)
def test_healthy_runs_are_called_healthy(case):
    verdict = examine(case.make())
    assert verdict.outcome == "healthy", verdict


def test_detectors_carry_the_question_of_their_slug():
    for detector in DETECTORS:
        assert detector.question == SLUGS[detector.slug].question
        assert set(detector.explains) <= set(SLUGS)


def test_causes_stand_before_what_they_explain():
    order = [detector.slug for detector in DETECTORS]
    for detector in DETECTORS:
        for symptom in set(detector.explains) & set(order):
            assert order.index(detector.slug) < order.index(symptom), f"{detector.slug} explains the earlier {symptom}"


class _Alarmist:
    """A detector that breaks the contract."""

    slug = "guessing"
    question = 1
    explains = ()

    def examine(self, run):
        yield Finding(
            "guessing",
            "warning",
            0.5,
            1,
            "",
            "Why not.",
            evidence=(Evidence("n", 1.0),),
            remedies=(Remedy("a", "b", "c"),),
        )


def test_a_false_alarm_fails_the_conformance_test():
    check(_Alarmist, Case("a sick run", classifier))
    with pytest.raises(AssertionError, match="false alarm"):
        check(_Alarmist, Case("a healthy run", classifier, silent=True))
