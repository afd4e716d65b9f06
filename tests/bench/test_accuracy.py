"""The accuracy benchmark: a few programs that must be judged right, and the arithmetic of the score against oracles."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))
pytest.importorskip("_collection")
import _collection as collection  # noqa: E402
import _page  # noqa: E402
import _rulesets as rulesets  # noqa: E402
import _scoring as scoring  # noqa: E402
import _signals  # noqa: E402
import _times  # noqa: E402
import _verdicts as verdicts  # noqa: E402
import _watched as watched  # noqa: E402
import accuracy  # noqa: E402

sys.path.remove(str(BENCH))

from vivavoce.record.entities import Loss, Optimizer, Parameter  # noqa: E402
from vivavoce.testing.runs import make_run  # noqa: E402

VARIANTS = {variant.key: variant for variant in collection.variants(collection.load())}
BY_PROGRAM = collection.load()

# ---- programs that are really run: each a second or two of training -----------------------------------------------------

GUARD = (
    "iris_fullbatch",
    "iris_fullbatch/learning-rate-x1000",
    "iris_fullbatch/softmax-before-cross-entropy",
    "skorch_style_wine",
    "skorch_style_wine/no-zero-grad",
    "skorch_style_wine/new-module-after-optimizer",
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The reports of the programs of `GUARD`, run under Viva with seed 0."""
    folder = tmp_path_factory.mktemp("accuracy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watched, "FOLDER", folder / "watched")
        patch.setattr(collection, "CACHE", folder)
        rows = watched.run_warm([(VARIANTS[key], 0) for key in GUARD], resume=False)
        return {row.variant.key: row for row in rows}


@pytest.mark.parametrize("key", GUARD)
def test_the_verdict_on_a_program(reports, key):
    row = reports[key]
    assert row.report is not None, row.error
    assert row.report["faults"] == []
    verdict = verdicts.of_report(row.variant, 0, row.report)
    raised = [alarm.slugs[0] for alarm in verdict.alarms]
    assert raised == [] if row.variant.fault is None else verdict.right, raised


# ---- the score ----------------------------------------------------------------------------------------------------------


def said(key, seed, *slugs, confidence=0.9):
    return verdicts.Verdict(VARIANTS[key], seed, tuple(verdicts.Alarm((slug,), confidence) for slug in slugs))


def first_faults(count):
    """One fault of each of so many programs, with its intended cause."""
    return [(f"{p.name}/{p.faults[0].name}", p.faults[0].accept[0]) for p in BY_PROGRAM[:count]]


def test_a_verdict_is_judged_by_what_the_fault_accepts():
    verdict = said("iris_fullbatch/zero-weights", 0, "overfitting", "symmetric-weights")
    assert (verdict.named, verdict.right, verdict.exact, verdict.first) == (True, False, False, "overfitting")
    assert not said("iris_fullbatch", 0, "overfitting").named
    assert said("iris_fullbatch", 0).first == verdicts.NOTHING


def test_shares_of_a_score():
    (first, cause), (second, _) = first_faults(2)
    score = scoring.score([said(first, 0, cause), said(second, 0, "non-finite"), said("iris_fullbatch", 0), said("odd_kfold", 0, "guessing")])  # fmt: skip
    assert (score.recall.value, score.false_alarms.value) == (0.5, 0.5)
    assert score.precision.value == pytest.approx(1 / 3)


def test_no_alarm_in_n_programs_is_bounded_as_by_clopper_and_pearson():
    healthy = [said(program.name, seed) for program in BY_PROGRAM[:30] for seed in range(2)]
    share = scoring.score(healthy).false_alarms
    assert (share.value, share.low) == (0.0, 0.0)
    assert share.high == pytest.approx(stats.binomtest(0, 30).proportion_ci(0.95, "exact").high)


def test_an_interval_covers_what_it_should_where_runs_of_a_program_agree():
    """Five equal runs of each of 30 programs tell no more than one of each: the interval must be that of 30."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(200):
        hits = np.where(rng.random(30) < 0.8, 5, 0)
        low, high = scoring._interval(hits, np.full(30, 5))
        inside += low <= 0.8 <= high
    assert inside / 200 > 0.88


def test_the_confusion_has_the_true_cause_in_rows():
    (first, cause), _ = first_faults(2)
    matrix = scoring.confusion([said(first, 0, "overfitting"), said("iris_fullbatch", 0)])
    names = matrix.names
    assert matrix.counts[names.index(cause), names.index("overfitting")] == 1
    assert matrix.counts[names.index(scoring.HEALTHY), names.index(verdicts.NOTHING)] == 1
    assert matrix.total == 2


def test_calibration():
    faults = first_faults(10)
    sure = [
        said(key, 0, cause if i < 9 else "target-discontinuous", confidence=0.9)
        for i, (key, cause) in enumerate(faults)
    ]
    assert scoring.expected_calibration_error(sure) == pytest.approx(0.0, abs=1e-9)
    assert scoring.expected_calibration_error(sure[9:]) == pytest.approx(0.9)


def test_verdicts_survive_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "FOLDER", tmp_path)
    kept = [said("iris_fullbatch", 1), said("iris_fullbatch/zero-weights", 0, "guessing", "underfitting")]
    verdicts.write("viva", kept)
    assert verdicts.read("viva") == kept


# ---- rule sets, on runs whose answer follows from the published threshold ---------------------------------------------


def gradients(first, last, loss=1.0):
    """A run of two layers with these gradient norms at every step."""
    steps = list(range(1, 41))
    parameters = [Parameter(id=i, model=0, name=f"l{i}.weight", shape=(4, 4), dtype="float32") for i in range(2)]
    groups = ({"learning_rate": 0.01, "parameters": [0, 1]},)
    return make_run(
        entities=[*parameters, Optimizer(id=0, class_name="SGD", groups=groups), Loss(id=0, source="backward")],
        signals={
            ("gradient_norm", ("optimizer", 0)): ([0, 1], steps, [[first, last]] * 40),
            ("train/loss", ("loss", 0)): (["loss"], steps, [loss] * 40),
        },
    )


def fired(name, run):
    return [rule.name for rule in rulesets.alarms(rulesets.RULESETS[name], _signals.Signals(run))]


@pytest.mark.parametrize(
    ("first", "last", "rule"),
    [(71.0, 1.0, "exploding gradient"), (0.9e-4, 1.0, "vanishing gradient"), (1.0, 1.0, None)],
)
def test_autotrainer(first, last, rule):
    assert fired("AUTOTRAINER", gradients(first, last)) == ([rule] if rule else [])


def test_sagemaker_and_deepdiagnosis_on_a_vanished_gradient():
    run = gradients(1e-9, 1e-9)
    assert "vanishing gradient" in fired("SageMaker Debugger", run)
    assert "vanishing gradient" in fired("DeepDiagnosis", run)
    assert "vanishing gradient" not in fired("SageMaker Debugger", gradients(1.0, 1.0))


def test_a_stuck_loss():
    assert "stuck loss" in fired("TheDeepChecker", gradients(1.0, 1.0))
    assert "loss not decreasing" in fired("SageMaker Debugger", gradients(1.0, 1.0))


@pytest.mark.parametrize("name", sorted(rulesets.RULESETS))
def test_every_rule_copes_with_an_empty_run_and_stands_for_findings(name):
    from vivavoce.examine.slugs import SLUGS

    assert fired(name, make_run()) == []
    assert {slug for rule in rulesets.RULESETS[name] for slug in rule.slugs} <= set(SLUGS)


# ---- time to verdict ----------------------------------------------------------------------------------------------------


def test_a_run_cut_off_knows_nothing_of_later_steps():
    from vivavoce.record.run import Run

    run = gradients(1.0, 1.0)
    cut = Run(_times.Until(run, 10))
    assert cut.steps == 10
    assert cut.train_loss.steps.tolist() == list(range(1, 11))
    assert Run(_times.Until(run, run.steps)).train_loss.steps.tolist() == run.train_loss.steps.tolist()


# ---- the page -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not verdicts.names(), reason="no verdicts are kept")
def test_the_page_is_what_the_kept_verdicts_give():
    assert accuracy.PAGE.read_text() == accuracy.make_page()


def test_the_page_counts_runs_and_lists_misses():
    (first, cause), (second, other) = first_faults(2)
    now = [said(first, 0, cause), said(second, 0, "target-discontinuous"), said("odd_kfold", 0, "guessing")]
    times = {f"{first} 0": _times.Times(steps=100, named=10, alarmed=10, broken=None, lead=None)}
    text = _page.page(now, now, {"rules X": now}, times, 3)
    assert f"| {second} | 0 | {', '.join(VARIANTS[second].fault.accept)} | target-discontinuous |" in text
    assert "| odd_kfold | 0 | (healthy) | guessing |" in text
    assert "**10% of the run**" in text
    assert other


@pytest.mark.parametrize("pattern", ["no such program*", "digits_mlp/no such fault"])
def test_a_pattern_that_matches_nothing_is_an_error(pattern, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["accuracy.py", "run", "--only", pattern])
    assert accuracy.main() == 2
    assert pattern in capsys.readouterr().err
