from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vivavoce.examine.finding import Finding
from vivavoce.examine.slugs import SLUGS
from vivavoce.examine.verdict import examine
from vivavoce.remedy import catalogue
from vivavoce.remedy.catalogue import ORDER, REMEDIES, by_name, plan
from vivavoce.remedy.remedy import Words
from vivavoce.testing.detectors import HEALTHY, STRANGE, Case, classifier
from vivavoce.testing.remedies import check, plan_is_sound

ROOT = Path(__file__).parents[2]


CASES = [Case(case.name, functools.cache(case.make)) for case in STRANGE + HEALTHY[:2]]  # no remedy may change a run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.name)
def test_every_remedy_conforms(remedy, case):
    check(remedy, case)


def test_names_are_unique_and_found():
    assert len({remedy.name for remedy in REMEDIES}) == len(REMEDIES)
    assert all(by_name(remedy.name) is remedy for remedy in REMEDIES)
    with pytest.raises(KeyError):
        by_name("prayer")


def test_a_remedy_treats_what_it_is_listed_for():
    listed = {(name, slug) for slug, names in ORDER.items() for name in names}
    assert listed == {(remedy.name, slug) for remedy in REMEDIES for slug in remedy.treats}


def test_every_finding_of_the_table_has_a_remedy():
    without = {
        "beaten-by-baseline",
        "rule-violated",
        "target-discontinuous",
        "classes-confused",
        "spectral-bias",
        "replicas-diverged",
    }
    assert set(ORDER) == set(SLUGS) - without


def test_remedies_that_detectors_name_exist_or_are_for_people():
    for_people = {"baselines", "check-inputs", "check-labels", "check-loading", "check-modes", "check-path", "check-scale",
                  "check-targets", "check-validation", "check-validation-data", "detach", "detect-anomaly", "drop", "freeze",
                  "learning-rate", "list-suspects", "more-critic-steps", "more-data", "overfit-one-batch", "penalty", "project",
                  "reconnect", "relativistic-loss", "same-transform", "schedule-per-epoch"}  # fmt: skip
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/vivavoce/examine").glob("*.py"))
    named = set(re.findall(r'Remedy\(\s*"([a-z0-9-]+)"', text))
    assert named - {remedy.name for remedy in REMEDIES} <= for_people


def test_the_plan_follows_the_findings_then_the_order():
    run = classifier()
    found = [Finding(slug, "critical", 0.9, 6, "", "") for slug in ("learning-rate-too-high", "exploding-gradients")]
    planned = plan(run, found)
    plan_is_sound(planned, run)
    assert planned[0].finding == "learning-rate-too-high"
    slugs = [p.finding for p in planned]
    assert slugs == sorted(slugs, key=["learning-rate-too-high", "exploding-gradients"].index)
    names = list(dict.fromkeys(p.remedy for p in planned if p.finding == "learning-rate-too-high"))
    order = ORDER["learning-rate-too-high"]
    assert names == sorted(names, key=order.index)


def test_a_healthy_run_is_left_alone():
    run = classifier()
    assert plan(run, examine(run).findings) == []


def test_places_that_cannot_be_edited_get_words_with_the_line():
    run = classifier()
    (finding,) = [Finding("learning-rate-too-high", "critical", 0.9, 6, "", "")]
    prescription = next(by_name("lower-learning-rate").prescribe(run, finding))
    path = Path(prescription.where["file"])
    text = "\n" * (prescription.where["line"] - 1) + "optimizer = SGD(**settings)\n"
    words = by_name("lower-learning-rate").edit(prescription, {path: text})
    assert isinstance(words, Words)
    assert words.line == prescription.where["line"]
    assert "lr=" in words.text


def test_planning_and_editing_import_no_torch():
    code = (
        "import sys, json; from pathlib import Path; from vivavoce.remedy.catalogue import plan, by_name;"
        "from vivavoce.testing.detectors import classifier; from vivavoce.examine.finding import Finding;"
        "run = classifier();"
        "found = [Finding(s, 'critical', 0.9, 6, '', '') for s in ('learning-rate-too-high', 'gradients-not-zeroed', 'underfitting')];"
        "[by_name(p.remedy).edit(p, {Path(p.where['file']): 'x = 1'}) for p in plan(run, found)];"
        "print(json.dumps('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False


def test_every_remedy_is_documented():
    page = (ROOT / "docs" / "remedies.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip().strip("`"): line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == {remedy.name for remedy in REMEDIES}
    for remedy in REMEDIES:
        missing = [slug for slug in remedy.treats if f"`{slug}`" not in rows[remedy.name]]
        assert not missing, f"docs/remedies.md does not say that {remedy.name} treats {missing}"


def test_the_catalogue_lists_every_remedy_that_is_written():
    folder = Path(catalogue.__file__).parent
    written = {
        name
        for path in folder.glob("*.py")
        for name in re.findall(r'^    name = "([a-z0-9-]+)"', path.read_text(encoding="utf-8"), flags=re.M)
    }
    assert written == {remedy.name for remedy in REMEDIES}


def test_a_remedy_that_fails_does_not_take_the_others_with_it(monkeypatch):
    def fail(run, finding):
        raise RuntimeError("out of herbs")
        yield

    monkeypatch.setattr(by_name("lower-learning-rate"), "prescribe", fail, raising=False)
    found = Finding("learning-rate-too-high", "critical", 0.9, 6, "", "")
    with pytest.warns(UserWarning, match="out of herbs"):
        planned = plan(classifier(), [found])
    assert planned
    assert "lower-learning-rate" not in {p.remedy for p in planned}
