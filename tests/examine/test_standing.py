"""What may be said of a run that is not over yet."""

from __future__ import annotations

from vivavoce.examine.finding import Finding, Severity
from vivavoce.examine.standing import Standing

CERTAIN, PASSING, OTHER = "gradients-not-zeroed", "guessing", "class-ignored"


def finding(slug: str, severity: Severity = "warning") -> Finding:
    return Finding(slug, severity, 0.9, 1, "", "")


def said(standing: Standing, step: int, *findings: Finding) -> list[str]:
    return [item.slug for item in standing.of(findings, step)]


def test_what_may_pass_is_said_once_it_has_stood_for_half_of_the_steps() -> None:
    standing = Standing()
    assert [said(standing, step, finding(PASSING)) for step in (20, 39, 40, 50)] == [[], [], [PASSING], [PASSING]]


def test_what_passed_begins_anew() -> None:
    standing = Standing()
    assert said(standing, 20, finding(PASSING)) == []
    assert said(standing, 40) == []
    assert said(standing, 60, finding(PASSING)) == []
    assert said(standing, 120, finding(PASSING)) == [PASSING]


def test_facts_and_notes_are_said_at_once() -> None:
    assert said(Standing(), 20, finding(CERTAIN), finding(PASSING, "note")) == [CERTAIN, PASSING]


def test_a_note_that_grows_into_a_warning_has_not_stood_as_one() -> None:
    standing = Standing()
    assert said(standing, 20, finding(PASSING, "note")) == [PASSING]
    assert said(standing, 40, finding(PASSING)) == []


def test_the_first_grave_finding_that_is_said_is_the_primary_one() -> None:
    standing = Standing()
    standing.of([finding(OTHER)], 10)
    found = standing.of([finding(PASSING).with_(primary=True), finding(CERTAIN, "note"), finding(OTHER)], 30)
    assert [(item.slug, item.primary) for item in found] == [(CERTAIN, False), (OTHER, True)]
