"""The repair benchmark's own rules: what counts as reached and as worse, and what the other strategies plan."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import _autotrainer
import _random_search
from _repair_page import page
from _repairs import GOAL, Repaired
from vivavoce.record.entities import Optimizer, Site
from vivavoce.remedy.catalogue import REMEDIES
from vivavoce.testing.runs import make_run

CELL = Repaired(
    key="program/no-zero-grad",
    strategy="viva",
    verdict="repaired",
    reason="",
    fault="gradients-not-zeroed",
    treated=("zero-grad",),
    runs=7,
    multiple=6.5,
    healthy=0.1,
    sick=1.0,
    after=0.1,
    loss_of_range=0.0,
    sick_loss_of_range=0.9,
    changed=True,
)


@pytest.mark.parametrize(
    ("lost", "reached"), [(0.0, True), (-0.5, True), (GOAL, True), (GOAL + 0.01, False), (math.nan, False)]
)
def test_reached_is_within_five_percent_of_the_way(lost: float, reached: bool) -> None:
    assert replace(CELL, loss_of_range=lost).reached is reached


@pytest.mark.parametrize(
    ("after", "lost", "sick", "changed", "worse"),
    [
        (0.1, 0.0, 1.0, True, False),
        (1.2, 1.1, 1.0, True, True),
        (1.2, 1.1, 1.0, False, False),
        (1.02, 0.92, 1.0, True, False),
        (math.nan, math.nan, 1.0, True, True),
        (math.nan, math.nan, math.nan, True, False),
    ],
)
def test_a_patch_that_makes_it_worse_is_counted(
    after: float, lost: float, sick: float, changed: bool, worse: bool
) -> None:
    assert replace(CELL, after=after, loss_of_range=lost, sick=sick, changed=changed).worsened is worse


def test_the_page_says_what_it_is_a_sample_of() -> None:
    failed = replace(CELL, key="program/learning-rate-x300", fault="learning-rate-too-high", loss_of_range=0.5)
    healthy = replace(CELL, key="program", verdict="healthy", changed=False)
    again = [replace(cell, strategy="re-seeding", loss_of_range=0.9) for cell in (CELL, failed)]
    text = page([CELL, failed, *again], [healthy], total=10)
    assert "2 of 10 cells" in text
    assert "| reached the twin | 50% (1 of 2; 1% to 99%) |" in text
    assert "| … of wiring faults | 100% (1 of 1; 3% to 100%) |" in text
    assert "| re-seeding, equal cost | 2 | 0% (0 of 2; 0% to 84%) | 50% (1 of 2; 1% to 99%) | 0 | 6.5 × |" in text
    assert "left unchanged: 1 of 1 (target: all)." in text
    assert "- 1 × the patch helps, and not enough" in text
    assert "sample" not in page([CELL], [], total=1).split("| of `viva repair`")[0]


def test_the_order_of_autotrainer_names_remedies_that_exist() -> None:
    names = {remedy.name for remedy in REMEDIES}
    assert {name for order in _autotrainer.ORDER.values() for name in order} <= names


def test_the_random_plan_does_not_look_at_the_findings() -> None:
    run = make_run(
        entities=[Optimizer(id=0, class_name="SGD", site=Site("train.py", 2), step_site=Site("train.py", 3))]
    )
    planned = _random_search.plan(run, [])
    assert len(planned) == _random_search.MOST
    assert planned == _random_search.plan(run, ["anything"])
