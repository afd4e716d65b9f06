"""The lab of question 1: the ladder against known winners, SciPy's p-values, scikit-learn's models, and on tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from vivavoce.labs.baselines import Baselines
from vivavoce.labs.baselines_ladder import Budget, Rung, climb, decide
from vivavoce.labs.baselines_models import BOOSTED, CLASSICAL, LINEAR, predict
from vivavoce.labs.baselines_worlds import MAKERS, network_world
from vivavoce.labs.lab import Context, LabError, Result
from vivavoce.labs.tables import Examples

RANDOM = np.random.default_rng(0)
FOLKLORE = {
    "on tables, trees beat networks": "holds only when",
    "a more capable model is at least as good, if it is tuned": "does not hold",
    "so does a plain t test over the folds": "does not hold",
}


@pytest.fixture(scope="module")
def proof() -> Result:
    return Baselines().run(None, Context(quick=True))


def test_each_world_gets_what_it_needs(proof: Result) -> None:
    outcomes = {claim.claim: claim.outcome for claim in proof.claims}
    assert {name: outcomes.pop(name) for name in FOLKLORE} == FOLKLORE
    assert set(outcomes.values()) == {"holds"}
    assert {world["needs"] for world in proof.data["worlds"].values()} == {"rule", "classical model", "network"}


def rungs(*losses: np.ndarray) -> list[Rung]:
    kinds = ("rule", "rule", "classical model", "classical model", "network")
    return [Rung(f"m{n}", kinds[n], loss, loss, ["-"], 0.0) for n, loss in enumerate(losses)]


def test_a_rung_must_beat_every_one_below_it() -> None:
    noise = 0.01 * RANDOM.standard_normal((5, 10))
    base = np.array([1.0, 0.8, 0.5, 0.9, 0.5])[:, None] + noise
    found = decide(rungs(*base), Budget())
    assert found.best.name == "m2"
    assert found.rungs[4].p > 0.05  # it beats three of four


def test_p_values_are_students_with_the_correction_the_margin_and_holms_factors() -> None:
    losses = np.array([1.0, 0.98])[:, None] + 0.02 * RANDOM.standard_normal((2, 10))
    found = decide(rungs(*losses), Budget(folds=5), margin=0.01)
    saved = 0.99 * losses[0] - losses[1]
    t = saved.mean() / np.sqrt((1 / 10 + 1 / 4) * saved.var(ddof=1))
    assert found.rungs[1].p == pytest.approx(stats.t.sf(t, 9))


def test_linear_models_are_scikit_learns() -> None:
    x, y = RANDOM.standard_normal((80, 3)), RANDOM.standard_normal(80)
    scaled = StandardScaler().fit(x)
    new = 0.5 * RANDOM.standard_normal((9, 3))
    ours = predict(LINEAR.fit(x, y, 0, (2.0,)), new)
    np.testing.assert_allclose(ours, Ridge(alpha=2.0).fit(scaled.transform(x), y).predict(scaled.transform(new)))
    labels = (y > 0).astype(np.int64)
    theirs = LogisticRegression(C=0.5).fit(scaled.transform(x), labels).predict_proba(scaled.transform(new))
    np.testing.assert_allclose(predict(LINEAR.fit(x, labels, 2, (2.0,)), new), theirs, atol=1e-4)


def test_a_stage_of_boosting_is_boosting_with_fewer_trees() -> None:
    x, y = RANDOM.standard_normal((100, 3)), RANDOM.standard_normal(100)
    stages = dict(BOOSTED.fit(x, y, 0, (0.1, 4, 30, 5))(x))
    assert list(stages) == [(0.1, 4, trees, 5) for trees in (10, 20, 30)]
    np.testing.assert_allclose(stages[0.1, 4, 20, 5], predict(BOOSTED.fit(x, y, 0, (0.1, 4, 20, 5)), x))


@pytest.mark.parametrize("model", CLASSICAL, ids=lambda model: model.name)
def test_a_class_that_a_model_has_not_seen_has_no_probability(model: object) -> None:
    x, y = np.random.default_rng(1).standard_normal((40, 2)), np.arange(40) % 2
    found = predict(model.fit(x, y, 3, model.settings[0]), x)  # type: ignore[attr-defined]
    assert found.shape == (40, 3)
    np.testing.assert_allclose(found[:, 2], 0)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_same_seed_is_the_same_ladder() -> None:
    world = network_world(np.random.default_rng(0), 100).examples
    budget = Budget(settings=1, folds=2, repeats=1)
    first, second, other = (climb(world, budget, Context(seed=seed)) for seed in (1, 1, 2))
    assert [r.losses.tolist() for r in first.rungs] == [r.losses.tolist() for r in second.rungs]
    assert first.rungs[2].losses.tolist() != other.rungs[2].losses.tolist()


def test_worlds_are_what_they_say() -> None:
    for maker in MAKERS:
        world = maker(np.random.default_rng(3), 500)
        assert world.examples.x.shape == (500, 10)
        assert world.examples.is_classes or 0.7 < world.examples.y.std() < 1.5


def write(tmp_path: Path, rows: int = 240) -> str:
    random = np.random.default_rng(5)
    age, city = random.normal(40, 10, rows), random.choice(["Ulm", "Bonn", "Rom"], rows)
    wrong = random.random(rows) < 0.1
    left = np.where((age > 42) ^ wrong, "yes", "no")
    lines = [f"{'' if n % 11 == 0 else age[n]},{city[n]},2024-01-{1 + n % 28:02},{left[n]}" for n in range(rows)]
    source = tmp_path / "table.csv"
    source.write_text("age,city,since,left\n" + "\n".join(lines))
    return str(source)


def test_a_table_that_a_rule_explains(tmp_path: Path) -> None:
    result = Baselines().run(write(tmp_path), Context(quick=True, options={"target": "left"}))
    assert result.answer.startswith("You do not need deep learning here")
    assert result.data["winner"] == "rule"
    assert any("age above 4" in note and "If so yes" in note for note in result.notes)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes == ["holds", "does not hold", "does not hold"]
    assert [row[0] for row in result.tables[0].rows] == ["constant", "rule ←", "linear", "boosted trees", "network"]


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(LabError, match=r"vivavoce\[labs\]"):
        Baselines().run(None, Context(quick=True))


def test_examples_can_be_taken() -> None:
    examples = Examples(np.eye(3), np.arange(3), ("a", "b", "c"), ("x", "y", "z"))
    assert examples.take(np.array([2, 0])).y.tolist() == [2, 0]
