"""The lab of question 5: what is foretold happens, and a script of the user's own is watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vivavoce.labs.gradients import Gradients
from vivavoce.labs.gradients_adder import ALONE, BASELINE, CONSTANT_ERROR, Recipe, make, make_batches, train
from vivavoce.labs.gradients_proof import foretold, growth_claims
from vivavoce.labs.gradients_slow import RATE, follow
from vivavoce.labs.lab import Context, LabError, Result

SCRIPT = """
import sys, torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
rnn = nn.RNN(2, 16, nonlinearity="relu", batch_first=True)
with torch.no_grad():
    rnn.weight_hh_l0.copy_(float(sys.argv[1]) * torch.eye(16))
    rnn.weight_ih_l0.abs_(); rnn.bias_ih_l0.zero_(); rnn.bias_hh_l0.zero_()
optimizer = torch.optim.SGD(rnn.parameters(), lr=1e-30)
for _ in range(30):
    loss = rnn(torch.rand(8, 40, 2))[0][:, -1].pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def run(source: str, **options: object) -> Result:
    return Gradients().run(source, Context(options=options))


def test_growth_is_known_before_the_first_step() -> None:
    claims, _ = growth_claims(Context())
    assert len(claims) == 5
    assert {claim.outcome for claim in claims} == {"holds"}


def test_who_dies_is_foretold() -> None:
    claims, _ = foretold(Context())
    assert [claim.outcome for claim in claims] == ["holds", "does not hold"]


@pytest.mark.parametrize("name", ["fewer layers (T = 20)", "smaller batch (4)", "ReLU", "L1", "L2"])
def test_remedies_that_do_not_touch_the_recurrence_do_not_save_it(name: str) -> None:
    (recipe,) = (recipe for recipe in ALONE if recipe.name == name)
    assert not train(recipe, 0, 5).survives


def test_surviving_is_not_learning() -> None:
    fate = train(replace(BASELINE, cell="tanh"), 0, 60)
    assert fate.survives
    assert not fate.learns
    assert fate.final == pytest.approx(CONSTANT_ERROR, rel=0.5)


def test_the_best_constant_leaves_a_sixth() -> None:
    _, sums = next(make_batches(Recipe("large", batch=20_000), 0))
    assert torch.var(sums).item() == pytest.approx(1 / 6, rel=0.03)


def test_truncation_stops_the_gradient_and_not_the_state() -> None:
    whole, cut = make(replace(BASELINE, rho=1.0), 0), make(replace(BASELINE, rho=1.0, back=10), 0)
    sequences, _ = next(make_batches(BASELINE, 0))
    torch.testing.assert_close(cut(sequences), whole(sequences))
    sequences.requires_grad_()
    torch.autograd.backward(cut(sequences).sum())
    assert sequences.grad is not None
    assert sequences.grad[:, :-10].count_nonzero() == 0
    assert sequences.grad[:, -10:].count_nonzero() > 0


def test_growth_warns_before_the_norm() -> None:
    stories = (follow(RATE, seed, 300) for seed in range(1, 9))  # which of them die hangs on the processor's rounding
    story = next(story for story in stories if story.died is not None)
    growth, norm = story.alarm(story.rates, 1.2), story.alarm(story.norms, 100.0)
    assert story.died is not None
    assert growth is not None
    assert norm is not None
    assert growth < norm < story.died


def test_nothing_leaks_into_the_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(BASELINE, 0, 2)
    assert torch.equal(torch.rand(2), expected)


def test_a_script_is_run_and_its_growth_read(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    result = run(str(script), arguments="1.05")
    assert result.data["growth"][0] == pytest.approx(1.05, rel=0.01)
    assert "1.05" in result.answer


def test_a_script_that_fails_or_trains_nothing_is_said(tmp_path: Path) -> None:
    script = tmp_path / "nothing.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(LabError, match="exit code 3"):
        run(str(script))


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        ("none.py", {}, "no such file"),
        ("notes.txt", {}, r"\.py"),
        ("broken.db", {}, "broken.db"),
        ("train.py", {"arguments": "'"}, "--arguments"),
    ],
)
def test_bad_input_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, options: dict[str, object], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("notes.txt", "broken.db", "train.py"):
        Path(name).write_text("not a run")
    with pytest.raises(LabError, match=why):
        run(source, **options)
