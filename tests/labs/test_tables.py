"""Tables as features and targets: what becomes of words, dates, gaps, long files; and what is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from vivavoce.labs.lab import Context, LabError
from vivavoce.labs.tables import Examples, read_examples

ROWS = 60
DEFAULTS = {"target": "y", "task": "auto"}


def read(tmp_path: Path, header: str, rows: list[str], most: int = 10_000, fewest: int = 1, **options: str) -> Examples:
    source = tmp_path / "table.csv"
    source.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return read_examples(str(source), Context(options={**DEFAULTS, **options}), most, fewest)


def test_numbers_words_dates_and_gaps(tmp_path: Path) -> None:
    days = [date(2024, 1 + n % 12, 1 + n % 28) for n in range(ROWS)]
    rows = [
        f"{n},{'NA' if n == 7 else n / 2},{'red' if n % 3 else 'blue'},{days[n]},id{n},5,{n * 1.5}" for n in range(ROWS)
    ]
    found = read(tmp_path, "a,b,colour,day,name,constant,y", rows)
    columns = dict(zip(found.names, found.x.T, strict=True))
    assert not found.is_classes
    np.testing.assert_array_equal(found.y, 1.5 * np.arange(ROWS))
    np.testing.assert_array_equal(columns["a"], np.arange(ROWS))
    assert np.isnan(columns["b"][7])
    assert columns["b is missing"].tolist() == [float(n == 7) for n in range(ROWS)]
    assert columns["colour = red"].tolist() == [float(n % 3 > 0) for n in range(ROWS)]
    assert "colour = blue" not in columns  # the other of two
    np.testing.assert_allclose(np.diff(columns["day in days"]), np.diff([d.toordinal() for d in days]))
    np.testing.assert_array_equal(columns["weekday of day"], [d.weekday() for d in days])
    np.testing.assert_array_equal(columns["month of day"], [d.month for d in days])
    assert "hour of day" not in columns
    assert "name, constant" in found.notes[0]


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M"])
def test_forms_of_dates(tmp_path: Path, form: str) -> None:
    rows = [f"{date(2024, 2, 1 + n % 28).strftime(form)},{n}" for n in range(ROWS)]
    found = read(tmp_path, "when,y", rows)
    assert found.names[0] == "when in days"
    assert found.x[1, 0] - found.x[0, 0] == 1


def test_frequent_words_become_indicators_and_the_rest_is_none_of_them(tmp_path: Path) -> None:
    words = [f"w{n % 25}" if n % 2 else "often" for n in range(200)]
    found = read(tmp_path, "word,y", [f"{word},{n / 3}" for n, word in enumerate(words)])
    assert len(found.names) == 20
    assert found.x[:, found.names.index("word = often")].sum() == 100
    assert (found.x.sum(axis=1) <= 1).all()


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (["no", "yes"], "auto", ("no", "yes")),
        (["0", "1"], "auto", ("0", "1")),
        (["10", "9", "2"], "auto", ("2", "9", "10")),
        (["1.5", "2.5", "3.5"], "auto", ()),
        (["10", "9", "2"], "numbers", ()),
        (["1.5", "2.5", "3.5"], "classes", ("1.5", "2.5", "3.5")),
    ],
)
def test_what_the_target_is(tmp_path: Path, cells: list[str], task: str, classes: tuple[str, ...]) -> None:
    found = read(tmp_path, "a,y", [f"{n},{cells[n % len(cells)]}" for n in range(ROWS)], task=task)
    assert found.classes == classes
    if classes:
        assert [found.classes[int(label)] for label in found.y[: len(cells)]] == cells
    else:
        assert found.y[: len(cells)].tolist() == [float(cell) for cell in cells]


def test_a_long_file_is_sampled_evenly(tmp_path: Path) -> None:
    rows = [f"{n},{n % 2}" for n in range(150_000)]
    found = read(tmp_path, "a,y", rows, most=3_000)
    assert len(found) == 3_000
    assert "3,000 of 150,000 rows" in found.notes[0]
    assert (np.diff(found.x[:, 0]) > 0).all()  # in the order of the file, none twice
    assert abs(found.x[:, 0].mean() - 75_000) < 5 * 150_000 / np.sqrt(12 * 3_000)


def test_rare_classes_are_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, "a,y", [f"{n},{'c' if n == 5 else 'ab'[n % 2]}" for n in range(ROWS)], fewest=3)
    assert found.classes == ("a", "b")
    assert len(found) == ROWS - 1
    assert "'c'" in found.notes[0]


GOOD = [f"{n},{n % 3}" for n in range(ROWS)]


@pytest.mark.parametrize(
    ("header", "rows", "options", "why"),
    [
        ("a,y", GOOD, {"target": ""}, "--target"),
        ("alpha,y", GOOD, {"target": "alfa"}, "did you mean 'alpha'"),
        ("a,y", GOOD[:5], {}, "5 rows; at least 40"),
        ("a,y", [], {}, "0 rows"),
        ("a,y", [f"{n},1" for n in range(ROWS)], {}, "'1' in every row"),
        ("a,y", [f"{n},x" for n in range(ROWS)], {}, "'x' in every row"),
        ("a,y", [f"{n},1" for n in range(ROWS)], {"task": "numbers"}, "in every row"),
        ("a,y", [f"3,{n}" for n in range(ROWS)], {}, "no column besides y"),
        ("a,y", [*GOOD, "3,"], {}, "row 62: y, which is to be predicted, is missing"),
        ("a,y", [*GOOD, "3,nan"], {}, "row 62"),
        ("a,y", [f"{n},{n if n else 'inf'}" for n in range(ROWS)], {}, "finite"),
        ("a,y", [f"{n},w{n}" for n in range(ROWS)], {}, "at most 50 classes"),
        ("a,y", [f"{n},{'ab'[n % 2]}" for n in range(ROWS)], {"task": "numbers"}, "must be numbers"),
        ("a,y", [*GOOD, "3"], {}, "row 62: 2 cells"),
    ],
)
def test_what_cannot_be_learned_from(
    tmp_path: Path, header: str, rows: list[str], options: dict[str, str], why: str
) -> None:
    with pytest.raises(LabError, match=why):
        read(tmp_path, header, rows, **options)


def test_too_few_of_each_class(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="fewer than two classes"):
        read(tmp_path, "a,y", [f"{n},{'b' if n else 'a'}" for n in range(ROWS)], fewest=10)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    source = tmp_path / "table.csv"
    source.write_bytes(b"a,y\n" + b"\xe4,1\n" * 50)
    with pytest.raises(LabError, match="not UTF-8"):
        read_examples(str(source), Context(options=DEFAULTS), 100)
