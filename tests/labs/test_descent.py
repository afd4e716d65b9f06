"""The lab of question 6: closed forms, and tables as users have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vivavoce.labs.descent import Descent, read
from vivavoce.labs.descent_race import descend
from vivavoce.labs.lab import Context, LabError, Result
from vivavoce.measure.sgd_theory import LeastSquares

FOLKLORE = "below 2/λmax stochastic descent converges, too"


@pytest.fixture(scope="module")
def proof() -> Result:
    return Descent().run(None, Context(quick=True))


def test_theory_and_measurement_agree(proof: Result) -> None:
    outcomes = {claim.claim: claim.outcome for claim in proof.claims}
    assert outcomes.pop(FOLKLORE) == "does not hold"
    assert outcomes.pop("stochastic descent needs fewer samples than batch descent") == "holds only when"
    outcomes.pop("the batch size that needs the fewest samples is the fastest")  # up to the machine
    assert set(outcomes.values()) == {"holds"}
    assert len(outcomes) >= 6


def test_batch_descent_follows_its_closed_form() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 3))
    problem = LeastSquares(x, x @ [1.0, 2.0, 3.0] + random.standard_normal(50))
    course = descend(problem, 50, 0.3, 0.0, random, most_samples=500)
    values, vectors = np.linalg.eigh(problem.hessian)
    for samples, excess in zip(course.samples, course.excess, strict=True):
        left = (1 - 0.3 * values) ** (samples / 50) * (vectors.T @ -problem.solution)
        assert excess == pytest.approx(0.5 * np.sum(values * left**2), rel=1e-6)


def table(tmp_path: Path, rows: int = 400) -> str:
    random = np.random.default_rng(1)
    a, b = random.normal(50, 10, rows), random.random(rows)
    kind = random.choice(["u", "v", "w"], rows)
    y = 3 * a + 40 * b + 10 * (kind == "u") + random.normal(0, 5, rows)
    lines = [
        f"{a[i]},{b[i] if i % 9 else ''},{kind[i]},1,row{i},{y[i]},{'yes' if y[i] > 170 else 'no'}" for i in range(rows)
    ]
    source = tmp_path / "table.csv"
    source.write_text("a,b,kind,constant,id,price,dear\n" + "\n".join(lines))
    return str(source)


def run(source: str, **options: object) -> Result:
    return Descent().run(source, Context(quick=True, options=options))


def test_a_table_is_raced(tmp_path: Path) -> None:
    result = run(table(tmp_path), target="price", error=0.05)
    assert result.data["winner"] in result.data["batches"]
    assert set(result.data["batches"]) == {1, 4, 16, 64, 256, 400}
    assert "constant" in result.notes[1]
    assert "id" in result.notes[1]


def test_the_features_are_standardised_and_the_limit_is_that_of_their_correlations(tmp_path: Path) -> None:
    source = table(tmp_path)
    problem, _ = read(source, Context(options={"target": "price"}))
    np.testing.assert_allclose(problem.x.std(axis=0), 1)
    largest = np.linalg.svd(problem.x, compute_uv=False)[0] ** 2 / problem.n
    result = run(source, target="price", error=0.5)
    assert result.data["critical_learning_rate"] == pytest.approx(2 / largest, rel=0.01)


def test_long_tables_are_thinned_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vivavoce.labs.descent.MOST_ROWS", 50)
    monkeypatch.setattr("vivavoce.labs.inputs.ROWS_PER_CHUNK", 70)
    source = tmp_path / "long.csv"
    source.write_text("a,y\n" + "\n".join(f"{i},{2 * i}" for i in range(1_000)))
    problem, notes = read(str(source), Context(options={"target": "y"}))
    assert problem.n == 50
    assert "1,000 rows were thinned evenly to 50" in notes[0]
    steps = np.diff(problem.y)
    assert steps.min() > 0
    assert steps.max() <= 2 * steps.min()  # spread over the whole file
    assert np.ptp(problem.y) > 0.95 * 2 * 999
    np.testing.assert_allclose(problem.x[:, 0] * problem.y.std(), problem.y)  # rows stay together


def test_two_classes_are_a_target(tmp_path: Path) -> None:
    assert run(table(tmp_path), target="dear", error=0.5).data["winner"] is not None


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        (b"a,y\n1,2\n2,3\n", {}, "--target"),
        (b"a,y\n1,2\n2,3\n", {"target": "yy"}, "did you mean"),
        (b"a,y\n1,2\n", {"target": "y"}, "two rows"),
        (b"a,y\n", {"target": "y"}, "two rows"),
        (b"a,y\n1,2\n2,2\n", {"target": "y"}, "same in every row"),
        (b"a,y\n1,2\n1,3\n", {"target": "y"}, "no column besides"),
        (b"a,y\n1,u\n2,v\n3,w\n", {"target": "y"}, "3 different words"),
        (b"a,y\n1,2\n2,nan\n", {"target": "y"}, "row 3"),
        (b"a,y\n1,2\n2,1e308\n", {"target": "y"}, "row 3: y is 1e\\+308, beyond"),
        (b"a,y\n1,2\n2,1\n3,1\n4,2\n", {"target": "y"}, "no linear model"),
        (b"a,y\n1,2\n2,3\n", {"target": "y", "error": 2.0}, "--error"),
        (b"", {"target": "y"}, "empty"),
    ],
)
def test_bad_tables_are_one_clear_error(tmp_path: Path, content: bytes, options: dict[str, object], why: str) -> None:
    source = tmp_path / "table.csv"
    source.write_bytes(content)
    with pytest.raises(LabError, match=why):
        run(str(source), **options)
