"""The lab of question 4, on functions whose answer is known and on what a user may type."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vivavoce.labs.approximation import Approximation
from vivavoce.labs.approximation_network import load
from vivavoce.labs.lab import Context, LabError, Result


@pytest.fixture(scope="module")
def proof() -> Result:
    torch.set_num_threads(1)
    return Approximation().run(None, Context(quick=True))


def run(source: str, **options: object) -> Result:
    return Approximation().run(source, Context(options=options))


def test_the_textbook_holds_and_the_folklore_does_not(proof: Result) -> None:
    outcomes = {claim.claim: claim.outcome for claim in proof.claims}
    folklore = {
        "the error at the points of the data is the error",
        "a network that is right on [0, 1] is right beyond it",
        "training finds the network that the theorem promises",
    }
    assert {claim for claim, outcome in outcomes.items() if outcome == "does not hold"} == folklore
    assert len(outcomes) >= 10


@pytest.mark.parametrize(("error", "pieces"), [(0.1, 17), (0.03, 25)])
def test_smallest_width_of_an_expression_is_saved_and_loads(tmp_path: Path, error: float, pieces: int) -> None:
    target = tmp_path / "net.pt"
    result = run("sin(8*pi*x)", error=error, save=str(target))
    assert result.data["units"] == pieces - 1
    x = torch.linspace(0, 1, 9_999, dtype=torch.float64)[:, None]
    with torch.no_grad():
        assert (load(str(target))(x) - torch.sin(8 * math.pi * x)).abs().max().item() <= error


def test_a_jump_is_certified() -> None:
    data = run("where(x < 0.3, 0, 3)").data
    assert data["at"] == pytest.approx(0.3, abs=1e-14)
    assert data["least_error"] == pytest.approx(1.5)
    assert min(data["bounds"]) >= 1.5


def test_a_pole_is_named() -> None:
    assert run("1/(x-0.3)").data["kind"] == "pole"


def test_two_variables() -> None:
    result = run("sin(3*x)*y", error=1e-2)
    assert result.data["largest_error"] <= 1e-2


def test_points_from_a_file(tmp_path: Path) -> None:
    source = tmp_path / "points.csv"
    x = np.random.default_rng(0).permutation(np.linspace(0, 1, 201))
    y = np.abs(2 * x - 1) + (x > 0.7)
    source.write_text("t,x,y\n" + "\n".join(f"0,{a},{b}" for a, b in zip(x, y, strict=True)))
    result = run(str(source), error=0.01)
    assert result.data["units"] >= 2
    assert "cannot prove a jump" in result.notes[0]
    flat = run(str(source), error=0.01, y="t")
    assert flat.data["units"] == 0


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        ("__import__('os').system('true')", {}, "neither a file nor an expression"),
        ("", {}, "empty"),
        ("x+" * 600 + "1", {}, "1,201 characters"),
        ("(" * 300 + "x" + ")" * 300, {}, "neither a file nor an expression"),
        ("'a'", {}, "real number"),
        ("log(x-0.5)", {}, "no real value at x = 0"),
        ("x", {"error": 0.0}, "--error"),
        ("x", {"from": 1.0}, "--from < --to"),
        ("x > 0.5", {"error": 0.6}, "below 0.5"),
        ("none.csv", {}, "No such file"),
    ],
)
def test_bad_input_is_one_clear_error(source: str, options: dict[str, object], why: str) -> None:
    with pytest.raises(LabError, match=why):
        run(source, **options)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"x,y\n1,2\n1,5\n2,3\n", "least possible is 1.5"),
        (b"x,y\n1,2\n", "two rows"),
        (b"x,y\n1,2\n1,3\n", "two different x"),
        (b"x,y\n1,a\n2,3\n", "finite number"),
        (b"x,y\n1,nan\n2,3\n", "finite number"),
        (b"x\n1\n2\n", "two columns"),
        (b"x,y\n\xff,2\n", "UTF-8"),
        (b"", "empty"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, content: bytes, why: str) -> None:
    source = tmp_path / "points.csv"
    source.write_bytes(content)
    with pytest.raises(LabError, match=why):
        run(str(source))


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("mine")
    with pytest.raises(LabError, match="no network that this lab has saved"):
        run("x", save=str(target))
    assert target.read_text() == "mine"
