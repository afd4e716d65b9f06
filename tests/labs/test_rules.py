"""The lab of rules on known truth, and on tables as users have them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from vivavoce.cli import command
from vivavoce.labs.lab import Context
from vivavoce.labs.rules import Rules
from vivavoce.labs.rules_families import FATHER, GRANDPARENTS, make_families, older
from vivavoce.measure import check_rule

Call = Callable[..., Result]
FOLKLORE = "a penalty in the loss makes new predictions obey"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, ["lab", "rules", *arguments], prog_name="viva")


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def outcomes(document: Any) -> dict[str, str]:
    return {claim["claim"]: claim["outcome"] for claim in document["claims"]}


def test_the_proof() -> None:
    result = Rules().run(None, Context(quick=True))
    found = {claim.claim: claim.outcome for claim in result.claims}
    assert found.pop(FOLKLORE) == "does not hold"
    found.pop("the penalty lowers the error beyond what the projection does")
    assert set(found.values()) == {"holds"}
    assert len(found) >= 9


def test_families_obey_the_rules_that_they_are_made_for() -> None:
    families = make_families(300, np.random.default_rng(0))
    assert families.ages.shape == (300, 9)
    assert (families.ages[:, list(GRANDPARENTS)].min(axis=1) > families.ages[:, FATHER]).all()
    assert check_rule(older(300), families.ages).holds
    assert check_rule(older(300, everyone=True), families.ages).holds
    swapped = families.ages.copy()
    swapped[7, [0, FATHER]] = swapped[7, [FATHER, 0]]
    found = set(check_rule(older(300), swapped).where.tolist())  # four pairs a family
    assert {28} <= found <= {28, 29, 30, 31}


def people(rows: int = 120, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    father = random.normal(45, 12, rows)
    grandparent = father + random.uniform(17, 40, rows)
    noisy = random.normal(0, 18, (2, rows))
    columns = {
        "grandparent age": grandparent,
        "father": father,
        "hair": grandparent + random.normal(0, 20, rows),
        "steps": father + random.normal(0, 20, rows),
        "p_old": grandparent + noisy[0],
        "p_young": father + noisy[1],
    }
    with Path("people.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, "place"])
        for i, row in enumerate(np.column_stack(list(columns.values())).round(2).tolist()):
            writer.writerow([*row, "town" if i % 2 else "land"])


def test_a_table_is_checked(call: Call) -> None:
    people()
    document = as_json(
        call("people.csv", "--rule", "`grandparent age` > father", "--rule", "p_old > p_young", "--json", "-")
    )
    assert list(outcomes(document).values()) == ["holds", "does not hold"]
    with Path("people.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    expected = [n for n, row in enumerate(rows, 2) if float(row["p_old"]) <= float(row["p_young"])]
    assert document["data"]["rules"][1]["first_broken_rows"] == expected
    assert document["data"]["rules"][1]["broken"] == len(expected) > 5
    assert {row[0] for row in document["tables"][0]["rows"]} == {f"{n}" for n in expected}


def test_predictions_are_projected_and_saved(call: Call) -> None:
    people()
    document = as_json(
        call("people.csv", "--rule", "p_old > p_young + 5", "--predicted", "p_old", "--predicted", "p_young",
             "--target", "grandparent age", "--target", "father", "--save", "out.csv", "--json", "-")
    )  # fmt: skip
    assert set(outcomes(document).values()) == {"holds"}
    with Path("people.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with Path("out.csv").open() as stream:
        saved = list(csv.DictReader(stream))
    for before, after in zip(rows, saved, strict=True):
        old, young, new_old, new_young = (float(r[c]) for r in (before, after) for c in ("p_old", "p_young"))
        if old > young + 5:
            assert (new_old, new_young) == (old, young)
        else:  # the nearest point of a half-plane: both move by half of what is missing
            half = (young + 5 - old) / 2
            assert (new_old, new_young) == (pytest.approx(old + half, abs=1e-3), pytest.approx(young - half, abs=1e-3))
            assert new_old > new_young + 5
    assert [row["row"] for row in saved[:2]] == ["2", "3"]


def test_predictions_without_targets_are_projected_too(call: Call) -> None:
    people()
    document = as_json(
        call("people.csv", "--rule", "p_old > p_young", "--rule", "0 <= p_young <= 60", "--predicted", "p_old",
             "--predicted", "p_young", "--json", "-")
    )  # fmt: skip
    assert set(outcomes(document).values()) == {"holds"}
    assert document["data"]["moved"] > 5


def test_targets_are_learned_with_and_without_the_rule(call: Call) -> None:
    people(90)
    document = as_json(
        call("people.csv", "--rule", "`grandparent age` > father + 16", "--target", "grandparent age", "--target", "father",
             "--quick", "--save", "learned.csv", "--json", "-")
    )  # fmt: skip
    found = outcomes(document)
    assert found["the labels obey `grandparent age` > father + 16"] == "holds"
    assert found["with the projection no rule is broken"] == "holds"
    assert found["the projection does not raise the squared error"] == "holds"
    assert document["data"]["ways"] == ["data alone", "penalty", "projection", "penalty and projection"]
    errors = np.array(document["data"]["errors"])
    assert (errors[:, 2] <= errors[:, 0] + 1e-12).all()  # the labels obey: they lie in the convex set
    with Path("learned.csv").open() as stream:
        saved = list(csv.DictReader(stream))
    assert len(saved) == 90
    assert all(float(row["grandparent age"]) > float(row["father"]) + 16 for row in saved)


def test_a_rule_that_the_labels_contradict_is_refused(call: Call) -> None:
    people()
    both = ["--target", "grandparent age", "--target", "father", "--quick", "--json", "-"]
    document = as_json(call("people.csv", "--rule", "father > `grandparent age`", *both))
    assert document["data"] == {"kept": []}
    assert "contradict the rule" in document["answer"]
    document = as_json(call("people.csv", "--rule", "`grandparent age` >= father + 17.5", *both))
    assert document["data"] == {"kept": []}
    document = as_json(call("people.csv", "--rule", "`grandparent age` >= father + 17.5", "--noise", "1", *both))
    assert document["data"]["kept"] == ["`grandparent age` >= father + 17.5"]


def test_order_and_symmetry_of_one_target(call: Call) -> None:
    random = np.random.default_rng(0)
    lines = [f"{a:.1f},{random.normal():.3f},{a * 3 + random.normal(0, 40):.1f}" for a in random.uniform(20, 200, 150)]
    Path("houses.csv").write_text("\n".join(["area,noise,price", *lines]))  # noise alone makes the network wiggle
    document = as_json(
        call(
            "houses.csv",
            "--rule",
            "increasing(price, area)",
            "--target",
            "price",
            "--noise",
            "40",
            "--quick",
            "--json",
            "-",
        )
    )
    assert outcomes(document)["with the projection no rule is broken"] == "holds"
    assert document["data"]["broken"][-1][0] > 0


TABLE = b"a,b,w\n1,2,x\n3,2,y\n"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (TABLE, [], "name what must hold with --rule"),
        (TABLE, ["--rule", "a"], "is no rule"),
        (TABLE, ["--rule", "aa > b"], "did you mean 'a'"),
        (TABLE, ["--rule", "a > `c`"], "there is no column 'c'"),
        (TABLE, ["--rule", "__import__('os').getcwd() > a"], "only calls such as"),
        (TABLE, ["--rule", "a > w"], "row 2: w must be a finite number, not 'x'"),
        (TABLE, ["--rule", "a > b", "--noise", "-1"], "--noise must be 0 or more"),
        (TABLE, ["--rule", "a > b", "--save", "x.csv"], "--save needs --predicted or --target"),
        (TABLE, ["--rule", "a > b", "--predicted", "c"], "no column 'c'"),
        (TABLE, ["--rule", "a > 1", "--predicted", "b"], "says nothing about b"),
        (TABLE, ["--rule", "a * a > 1", "--predicted", "a"], "not linear in a"),
        (TABLE, ["--rule", "a > 1", "--predicted", "a", "--target", "b", "--target", "a"], "2 for 1"),
        (TABLE, ["--rule", "a > b + 1", "--rule", "b > a", "--predicted", "a"], "no values obey all rules"),
        (TABLE, ["--rule", "a > b", "--predicted", "a", "--save", "no/where.csv"], "--save no/where.csv: No such file"),
        (TABLE, ["--rule", "a > b", "--target", "a"], "2 rows have all targets, at least 10"),
        (b"a,b\n" + b"1,2\n" * 20, ["--rule", "a < b", "--target", "a"], "no column besides a can be used"),
        (b"a,b\n" + b"\n".join(b"1,%d" % n for n in range(20)), ["--rule", "a < 2", "--target", "a"], "same in every row"),
        (b"a,b\n1,\n2,\n", ["--rule", "a > b"], "no row has all that"),
        (b"a,b\n1,2\n,3\n", ["--rule", "a > b", "--predicted", "a"], "row 3: a prediction is missing"),
        (b"a,b\n", ["--rule", "a > b"], "has a header but no rows"),
        (b"", ["--rule", "a > b"], "is empty"),
        ("ä,b\n1,2\n".encode("latin-1"), ["--rule", "a > b"], "is not UTF-8"),
        (b"a,b\n1,2,3\n", ["--rule", "a > b"], "row 2: 2 cells are expected"),
        (b"a,b\n1,inf\n", ["--rule", "a > b"], "not 'inf'"),
        (b"a,b\n1,1e308\n", ["--rule", "a > b"], "row 2: b is 1e308, beyond"),
        (bytes(range(256)), ["--rule", "a > b"], "is no text file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error(call: Call, content: bytes, arguments: list[str], message: str) -> None:
    Path("t.csv").write_bytes(content)
    result = call("t.csv", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
