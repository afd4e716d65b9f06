"""The lab of question 9: known fits, exact risks, tables and recorded runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from vivavoce.labs.baselines_worlds import linear_world, rule_world
from vivavoce.labs.fit import Fitting
from vivavoce.labs.fit_cases import linear_case, orthonormal, polynomial
from vivavoce.labs.fit_run import report
from vivavoce.labs.fit_variants import Course, assess, curve_of
from vivavoce.labs.lab import Context, LabError, Result
from vivavoce.labs.networks import Recipe
from vivavoce.measure.ridgeless import least_norm
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.testing.runs import make_run

FOLKLORE = {
    "the lowest training loss shows the best model": "does not hold",
    "a gap between training and validation means that the network is too large": "does not hold",
    "more parameters than examples overfit": "holds only when",
    "the peak is a fact of nature": "does not hold",
}


@pytest.fixture(scope="module")
def proof() -> Result:
    return Fitting().run(None, Context(quick=True))


def test_what_is_known_is_found(proof: Result) -> None:
    outcomes = {claim.claim: claim.outcome for claim in proof.claims}
    assert {name: outcomes.pop(name) for name in FOLKLORE} == FOLKLORE
    outcomes.pop("a larger network overfits more")  # up to the network
    assert set(outcomes.values()) == {"holds"}
    assert len(outcomes) >= 10
    assert proof.data["descent"]["peak"] == 40


def test_the_polynomials_are_orthonormal_over_their_points() -> None:
    for i, j in ((0, 0), (3, 3), (2, 5)):
        product, _ = quad(lambda t, i=i, j=j: np.prod(orthonormal(np.cos([t]), 6)[0, [i, j]]) / np.pi, 0, np.pi)
        assert product == pytest.approx(float(i == j), abs=1e-9)


def test_the_exact_excess_risk_is_that_of_many_new_points() -> None:
    random = np.random.default_rng(0)
    case = polynomial(random, 60)
    weights = least_norm(case.basis(4), case.y)
    x = np.cos(random.uniform(0, np.pi, 200_000))
    off = orthonormal(x, 4) @ weights - orthonormal(x, len(case.coefficients) - 1) @ case.coefficients
    assert np.mean(off**2) == pytest.approx(case.excess(weights), rel=0.02)


@pytest.mark.parametrize("helps", [True, False])
def test_cases_are_far_from_the_border(helps: bool) -> None:
    for seed in range(10):
        fall = linear_case(np.random.default_rng(seed), helps).fall()
        assert fall > 0.1 if helps else fall < 0.02


def test_stopping_is_chosen_by_the_other_folds() -> None:
    """Each fold's own best look would be its luck: here every fold is lowest where the others are not."""
    fold = np.repeat(np.arange(5), 4)
    validation = np.ones((5, 20)) - 0.5 * (fold[None] == np.arange(5)[:, None])
    course = Course(np.arange(1, 6), validation, validation, fold)
    assert course.stopped[1].mean() == 1.0


def test_the_course_is_of_rows_that_were_and_were_not_trained_on() -> None:
    examples = rule_world(np.random.default_rng(0), 200).examples
    fit = assess(examples, Recipe(64, 1e-2), Context(quick=True), with_curve=False)
    assert fit.verdict == "overfitting"
    assert fit.gap.low > 0
    assert fit.gap_since is not None
    assert fit.course.training[-1].mean() < 0.5 * fit.course.validation[-1].mean()
    assert {remedy.name for remedy in fit.remedies} >= {
        "stopping early",
        "more units",
        "weight decay",
        "longer training",
    }
    best = int(fit.course.epochs[fit.course.stopped[0]])
    assert fit.worse_since is None or fit.worse_since >= best


def test_a_curve_that_peaks_is_refused_with_the_reason() -> None:
    errors = np.array([0.5, 0.4, 0.9, 0.5, 0.4])[:, None] + 1e-3 * np.arange(5)
    found = curve_of(np.array([10.0, 20, 40, 80, 160]), errors, np.random.default_rng(0))
    assert found.saves is None
    assert "rises from" in found.refused


def test_a_table(tmp_path: Path) -> None:
    examples = linear_world(np.random.default_rng(0), 150).examples
    rows = [",".join(map(str, [*x, y])) for x, y in zip(examples.x, examples.y, strict=True)]
    source = tmp_path / "table.csv"
    source.write_text(",".join([*examples.names, "y"]) + "\n" + "\n".join(rows))
    result = Fitting().run(str(source), Context(quick=True, options={"target": "y", "width": 16}))
    assert result.data["verdict"] in ("right", "overfitting", "underfitting")
    assert result.data["training"] < result.data["constant"] < 2
    assert "more data" in result.answer.lower()
    assert {figure.key for figure in result.figures} == {"course", "learning-curve"}
    assert len(result.tables[0].rows) >= 7


def recorded(validation: np.ndarray, training: np.ndarray, noise: float = 0.01) -> Run:
    """A run of 1,000 steps with these courses, ten times as many training rows as validation passes."""
    random = np.random.default_rng(0)
    steps = np.arange(1, 1_001)
    site = Loss(id=0, source="function", function="cross_entropy")
    every = np.interp(steps, np.linspace(1, 1_000, len(training)), training)
    passes = np.linspace(50, 1_000, len(validation)).round()
    rows = np.stack([validation + noise * random.standard_normal(len(validation)), np.full(len(validation), 0.1), np.full(len(validation), 9.0), np.full(len(validation), 90.0), np.full(len(validation), np.nan)], axis=1)  # fmt: skip
    return make_run(
        entities=[site],
        signals={
            ("train/loss", ("loss", 0)): (["loss"], steps, every + noise * random.standard_normal(1_000)),
            ("val/loss", ("loss", 0)): (["loss", "deviation", "batches", "examples", "accuracy"], passes, rows),
        },
    )


def test_a_run_that_overfits() -> None:
    """Training falls to 0.1 at step 800; validation parts from it at step 500 and ends 1.38 above it."""
    passes = np.linspace(50, 1_000, 40).round()
    falling = np.interp(np.linspace(1, 1_000, 40), [1, 800, 1_000], [2.0, 0.1, 0.1])
    apart = 0.0046 * np.clip(passes - 500, 0, 300)
    validation = np.interp(passes, [1, 800, 1_000], [2.0, 0.1, 0.1]) + apart
    result = report(recorded(validation, falling), "run.db")
    assert result.data["verdict"] == "it overfits"
    assert result.data["gap"][1] < 1.38 < result.data["gap"][2]
    assert 450 <= result.data["best_step"] <= 550
    assert 500 <= result.data["gap_since"] <= 620
    assert result.data["rise"][1] > 0.4
    assert result.tables[0].rows[0][:2] == ["stopping earlier", "yes"]


def test_a_run_without_a_gap_that_is_still_falling() -> None:
    course = np.linspace(2, 0.5, 40)
    result = report(recorded(course, course), "run.db")
    assert result.data["verdict"] == "it is not trained to the end"
    assert abs(result.data["gap"][0]) < 0.1
    assert dict(row[:2] for row in result.tables[0].rows)["training longer"] == "yes"


def test_a_run_without_validation_is_one_error() -> None:
    with pytest.raises(LabError, match=r"torch.no_grad\(\)"):
        report(recorded(np.ones(1), np.linspace(2, 1, 40)), "run.db")
    with pytest.raises(LabError, match="too few"):
        report(make_run(), "run.db")


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        ("none.csv", {}, "no such file"),
        ("broken.db", {}, "broken.db"),
        ("table.csv", {"target": "y", "width": 0}, "--width"),
        ("table.csv", {}, "--target"),
    ],
)
def test_bad_input_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, options: dict[str, object], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.db").write_text("not a run")
    Path("table.csv").write_text("a,y\n" + "1,2\n3,4\n" * 30)
    with pytest.raises(LabError, match=why):
        Fitting().run(source, Context(quick=True, options=options))
