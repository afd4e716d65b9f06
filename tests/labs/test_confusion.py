"""The lab on known truth and on files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn import metrics

from vivavoce.cli import command
from vivavoce.labs.confusion import Confusion
from vivavoce.labs.lab import Context

Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, ["lab", "confusion", *arguments], prog_name="viva")


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def write(name: str, header: str, rows: list[str]) -> None:
    Path(name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_every_claim_is_proved() -> None:
    result = Confusion().run(None, Context(quick=True))
    wrong = [claim.claim for claim in result.claims if claim.outcome == "does not hold"]
    assert not wrong
    assert len(result.claims) >= 10
    assert {figure.key for figure in result.figures} >= {"coverage", "costs"}


def test_a_file_of_labels(call: Call) -> None:
    rng = np.random.default_rng(0)
    real = rng.choice(["ant", "bee", "cow"], 400)
    predicted = np.where(rng.random(400) < 0.7, real, rng.choice(["ant", "bee"], 400))
    write(
        "p.csv",
        "id,label,Prediction",
        [f'{n},{a}," {b}"' for n, (a, b) in enumerate(zip(real, predicted, strict=True))],
    )
    data = as_json(call("p.csv", "--json", "-"))["data"]
    expected = metrics.confusion_matrix(real, predicted, labels=["ant", "bee", "cow"])
    assert data["classes"] == ["ant", "bee", "cow"]
    assert data["counts"] == expected.tolist()
    assert data["accuracy"][0] == pytest.approx(metrics.accuracy_score(real, predicted))
    page = Path(".viva/labs/confusion.html").read_text(encoding="utf-8")
    assert "Rows: real class. Columns: predicted class." in page
    for sum_ in ("rows sum to 1", "columns sum to 1", "everything sums to 1"):
        assert sum_ in page


def test_classes_are_ordered_as_numbers_and_the_ignored_one_is_named(call: Call) -> None:
    write("p.csv", "true;predicted", ["10;2", "2;2", "9;9", "10;9", "9;9"])
    found = as_json(call("p.csv", "--json", "-"))
    assert found["data"]["classes"] == ["2", "9", "10"]
    assert "Never predicted: '10'." in found["answer"]


def test_scores_find_the_wrong_label(call: Call) -> None:
    rows = [f"{'a' if n % 2 else 'b'},{0.9 if n % 2 else 0.1},{0.1 if n % 2 else 0.9}" for n in range(40)]
    rows[7] = "b,0.99,0.01"
    write("p.csv", "true,p_a,p_b", rows)
    data = as_json(call("p.csv", "--json", "-"))["data"]
    assert [(s["row"], s["given"], s["suggested"]) for s in data["suspects"]] == [(9, "b", "a")]  # line 9 of the file
    assert data["label_noise"] == pytest.approx(1 / 40)


def test_logits_are_counted_but_labels_are_not_checked(call: Call) -> None:
    write("p.csv", "true,score_a,score_b", ["a,3,-1", "b,5,-2", "b,0,4"])
    found = as_json(call("p.csv", "--json", "-"))
    assert found["data"]["counts"] == [[1, 0], [1, 1]]
    assert "label_noise" not in found["data"]
    assert "no probabilities" in found["notes"][0]


def test_one_score_gives_the_threshold(call: Call) -> None:
    write("p.csv", "true,score", ["spam,0.9", "spam,0.4", "ham,0.3", "ham,0.1", "ham,0.45"])
    data = as_json(call("p.csv", "--positive", "spam", "--json", "-", "--false-alarm", "1", "--miss", "5"))["data"]
    assert data["classes"] == ["ham", "spam"]
    assert data["counts"] == [[3, 0], [1, 1]]
    assert 0.3 < data["threshold"] <= 0.4  # both spam found for one false alarm
    assert data["cost"] == pytest.approx(1 / 5)


def test_many_classes_become_a_picture(call: Call) -> None:
    write("p.csv", "true,predicted", [f"{n % 60},{n % 59}" for n in range(2_000)])
    as_json(call("p.csv", "--json", "-"))
    assert "data:image/png" in Path(".viva/labs/confusion.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"", [], "p.csv is empty: a header"),
        (b"true,predicted\n", [], "has a header but no rows"),
        (b"true,predicted\na,a\na,a\n", [], "all 2 rows are 'a'"),
        ("true,predicted\nä,b\n".encode("latin-1"), [], "is not UTF-8"),
        ("ähm,predicted\na,b\n".encode("latin-1"), [], "is not UTF-8"),
        (b"true,predicted\na,b\na\n", [], "row 3: 2 cells are expected"),
        (b"true,p_a,p_b\na,nan,0.5\n", [], "row 2: p_a must be a finite number, not 'nan'"),
        (b"true,p_a,p_b\na,x,0.5\n", [], "not 'x'"),
        (b"true,p_a,p_b\na,.5,.5\nc,.5,.5\n", [], "row 3: no column of scores is for the class 'c'"),
        (b"treu,predicted\na,b\n", [], "did you mean 'treu'?"),
        (b"true,pred\na,b\n", ["--predicted", "prod"], "has no column 'prod'; did you mean 'pred'?"),
        (b"true,pred\na,b\n", ["--scores", "p_"], "0 columns that begin with 'p_'"),
        (b"true,predicted\n1,1.0\n2,2.0\n", [], "no predicted label is a real one"),
        (b"true,predicted\na,b\n ,b\n", [], "row 3: true is empty"),
        (b"true,true\na,b\n", [], "two columns named 'true'"),
        (b"true,score\na,0.5\nb,0.1\n", [], "Name it with --positive"),
        (b"true,score\na,0.5\nb,1.1\n", ["--positive", "a"], "row 3: score must lie between 0 and 1, not 1.1"),
        (b"true,score\na,0.5\nb,0.1\n", ["--positive", "c"], "no row is 'c'"),
        (b"true,score\na,0.5\nb,0.1\n", ["--positive", "a", "--miss", "0"], "costs must be positive"),
        (b"true,predicted\n" + b"\n".join(b"%d,1" % n for n in range(2_100)), [], "more than 2,000 different labels"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line_and_exit_2(call: Call, content: bytes, arguments: list[str], message: str) -> None:
    Path("p.csv").write_bytes(content)
    result = call("p.csv", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_no_such_file_and_a_folder(call: Call) -> None:
    assert "No such file" in call("nowhere.csv").stderr
    assert "is a folder" in call(".").stderr
