from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.labs.example import Coin
from vivavoce import labs
from vivavoce.cli import command
from vivavoce.labs.figures import Line
from vivavoce.labs.lab import Claim, Context, LabError, MissingPackageError, require

Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Call `viva lab` in an empty folder, with the lab `coin` among the labs."""
    entry = labs.Entry(1, "is a coin fair", "tests.labs.example:Coin", "SHARE")
    monkeypatch.setitem(labs.LABS, "coin", entry)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, ["lab", *arguments], prog_name="viva")


def test_lists_the_labs_and_exits_0(call: Call) -> None:
    result = call()
    assert result.exit_code == 0
    assert "coin [SHARE]" in result.stdout
    assert "is a coin fair (question 1)" in result.stdout


def test_prints_claims_and_writes_page_and_json(call: Call, tmp_path: Path) -> None:
    result = call("coin", "--most-throws", "200")
    assert result.exit_code == 0, result.output
    for word in ("half are heads", "holds only when it is thrown often", "does not hold", "A note.", "28 more"):
        assert word in " ".join(result.stdout.split())
    page = (tmp_path / ".viva/labs/coin.html").read_text()
    assert "Share of &lt;heads&gt;" in page
    assert "<b>" not in page.replace("<b>The textbook", "").replace("<b>throws</b>", "").replace(
        "<b>a</b>", ""
    ).replace("<b>time</b>", "")
    data = json.loads((tmp_path / ".viva/labs/coin.json").read_text())
    assert data["lab"] == "coin"
    assert data["data"]["share"] == "nan"
    assert len(data["data"]["all"]) == 200
    assert [claim["outcome"] for claim in data["claims"][1:]] == ["does not hold", "holds only when"]


def test_the_same_seed_gives_the_same_numbers_and_another_others(call: Call) -> None:
    def measured(seed: str) -> list[float]:
        numbers: list[float] = json.loads(call("coin", "--json", "-", "--seed", seed).stdout)["data"]["all"]
        return numbers

    assert measured("3") == measured("3")
    assert measured("3") != measured("4")


def test_input_is_applied(call: Call) -> None:
    assert json.loads(call("coin", "1", "--json", "-").stdout)["data"]["all"] == [1.0] * 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["con"], "there is no lab 'con'; did you mean 'coin'?"),
        (["coin", "half"], "a share of heads is expected, not 'half'"),
        (["coin", "--side", "edge"], "edge"),
        (["coin", "--seed", "-1"], "-1"),
        (["coin", "-o", "-"], "cannot go to standard output"),
        (["coin", "-o", "nowhere/page.html"], "there is no folder nowhere"),
        (["coin", "-o", "."], ". is a folder"),
        (["coin", "-o", "mine.txt"], "mine.txt exists and is no result of Viva's"),
    ],
)
def test_errors_are_one_line_and_exit_2(call: Call, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "mine.txt").write_text("my notes")
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Try 'viva lab" in result.stderr
    assert (tmp_path / "mine.txt").read_text() == "my notes"


def test_an_earlier_page_is_replaced_and_anything_with_force(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("my notes")
    assert call("coin", "-o", "mine.html", "--force").exit_code == 0
    assert call("coin", "-o", "mine.html", "--json", "mine.json").exit_code == 0
    assert call("coin", "-o", "mine.html", "--json", "mine.json").exit_code == 0


def test_a_claim_has_a_condition_where_it_needs_one() -> None:
    with pytest.raises(ValueError, match="condition belongs"):
        Claim("a", "b", "c", "holds", "it rains")
    with pytest.raises(ValueError, match="condition belongs"):
        Claim("a", "b", "c", "holds only when")


def test_unknown_options_and_missing_packages_are_named() -> None:
    with pytest.raises(LabError, match="no option 'throws'"):
        Coin().run(None, Context(options={"throws": 3}))
    with pytest.raises(MissingPackageError, match=r"needs no_such_package: pip install 'vivavoce\[labs\]'"):
        require("no_such_package")


def test_a_lab_without_input_says_so() -> None:
    class Bare(Coin):
        apply = Coin.__mro__[1].apply  # that of Lab

    with pytest.raises(LabError, match="takes no input, got 'x'"):
        Bare().run("x")


def test_lines_are_checked() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Line("a", np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="must not fall"):
        Line("a", np.array([1.0, 0.0]), np.zeros(2))
    with pytest.raises(ValueError, match="low and high"):
        Line("a", np.zeros(2), np.zeros(2), low=np.zeros(2))
