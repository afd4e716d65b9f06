"""Whole repairs with a tiny catalogue: what is tried, what is handed back, and when nothing is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repair import nursery
from tests.repair.scripts import CATALOGUE, SICK, TRAINING, program
from vivavoce.repair import document, page, patch, supervision, text
from vivavoce.repair.engine import Engine
from vivavoce.repair.errors import RepairError
from vivavoce.repair.local import LocalEngine
from vivavoce.repair.options import Listener, Options
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.repair import Repair
from vivavoce.repair.result import Result

pytestmark = pytest.mark.timeout(900)  # seconds: whole runs in processes of their own


def repair(folder: Path, source: str, *arguments: str, engine: Engine | None = None, **options: object) -> Result:
    chosen = Options(catalogue=CATALOGUE, **options)  # type: ignore[arg-type]
    return Repair(program(folder, source, *arguments), engine or LocalEngine(2), chosen, folder.parent / "runs").run()


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    """Trials are forks here; that a trial is a process of its own is for test_trial.py to show."""
    found = nursery.Nursery()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(supervision, "start", found.start)
        yield
    found.close()


@pytest.fixture(scope="module")
def repaired(warm: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patched.setenv("OMP_NUM_THREADS", "1")
        folder = tmp_path_factory.mktemp("repaired") / "project"
        return folder, repair(folder, SICK)


def test_a_sick_script_gets_a_patch_that_was_proved(repaired: tuple[Path, Result]) -> None:
    folder, result = repaired
    assert result.verdict == "repaired", result.reason
    assert result.proof is not None
    assert result.proof.proved
    assert (folder / "train.py").read_text() == SICK
    assert result.texts == {
        folder / "train.py": SICK.replace("optimizer.step()\n", "optimizer.step()\n    optimizer.zero_grad()\n")
    }


def test_the_patch_can_be_applied_and_the_patched_script_trains_without_viva(
    repaired: tuple[Path, Result], tmp_path: Path
) -> None:
    _, result = repaired
    (tmp_path / "train.py").write_text(SICK)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=result.patch.encode(), check=True)
    output = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    loss = float(output.split()[-1])
    assert loss < 0.5
    arm = result.winner
    assert arm is not None
    assert arm.outcomes[0].levels["training loss"] == pytest.approx(loss, rel=1.0)


def test_all_arms_are_in_the_table_with_the_controls_seeds(repaired: tuple[Path, Result]) -> None:
    _, result = repaired
    assert result.arms[0].name == "original"
    assert sorted(result.original.outcomes) == [0, 1, 2]
    assert result.winner is not None
    assert sorted(result.winner.outcomes) == [0, 1, 2]
    assert result.winner.reproduces == "clear the gradients"
    assert result.cost.runs == sum(len(arm.outcomes) for arm in result.arms)


def test_every_reporter_shows_the_patch_or_the_table(repaired: tuple[Path, Result]) -> None:
    _, result = repaired
    card, html, data = io.StringIO(), io.StringIO(), io.StringIO()
    text.write(result, card, ["viva runs"], width=140)
    page.write(result, html, ("viva runs",))
    document.write(result, data)
    assert "repaired" in card.getvalue()
    assert "patched: clear the gradients" in " ".join(card.getvalue().split())
    assert "+    optimizer.zero_grad()" in html.getvalue()
    assert "viva runs" in html.getvalue()
    parsed = json.loads(data.getvalue())
    assert (parsed["schema"], parsed["repair"], parsed["winner"]) == (1, "repaired", "patched: clear the gradients")
    assert parsed["patch"] == result.patch
    assert [arm["kind"] for arm in parsed["arms"]].count("original") == 1


def test_a_patch_is_written_only_over_the_file_that_was_repaired(repaired: tuple[Path, Result]) -> None:
    folder, result = repaired
    (folder / "train.py").write_text("# new\n" + SICK)
    with pytest.raises(RepairError, match=r"train\.py has changed since"):
        patch.apply(result.before, result.texts)
    (folder / "train.py").write_text(SICK)
    assert patch.apply(result.before, result.texts) == [folder / "train.py"]
    assert "optimizer.zero_grad()" in (folder / "train.py").read_text()


def test_a_healthy_script_is_left_alone(tmp_path: Path) -> None:
    result = repair(tmp_path / "p", TRAINING)
    assert (result.verdict, result.patch) == ("healthy", "")
    assert [len(arm.outcomes) for arm in result.arms] == [1]
    assert "Nothing was tried" in result.reason


def test_an_edit_that_cannot_be_written_is_given_in_words(tmp_path: Path) -> None:
    result = repair(tmp_path / "p", SICK.replace("optimizer.step()", "_ = optimizer.step()"))
    assert result.verdict == "by-hand"
    assert "call zero_grad() after step()" in result.reason
    assert "because the step is no plain statement" in result.reason
    assert result.patch == ""


def test_no_remedy_beats_the_control_where_none_helps(tmp_path: Path) -> None:
    noise = SICK.replace("loss = F.mse_loss(model(x[pick]), y[pick])", "loss = F.mse_loss(model(x[pick]) * 0, y[pick])")
    result = repair(tmp_path / "p", noise)
    assert result.verdict in ("no-remedy", "healthy")
    assert result.patch == ""


def test_a_rate_that_the_command_gives_is_overruled_where_it_is_used(tmp_path: Path) -> None:
    rate = "options.add_argument('--rate', type=float, default=0.1)"
    source = TRAINING.replace(
        "import torch\n", f"import argparse, torch\noptions = argparse.ArgumentParser()\n{rate}\n", 1
    )
    source = source.replace("lr=0.1", "lr=options.parse_args().rate")
    source = source.replace("optimizer = ", "args = options.parse_args()\noptimizer = ").replace(
        "options.parse_args().rate", "args.rate"
    )
    script = program(tmp_path / "p", source, "--rate", "1e-6")
    result = Repair(script, LocalEngine(2), Options(trials=2), tmp_path / "runs").run()  # with Viva's own remedies
    assert result.verdict == "repaired", result.reason
    assert "-optimizer = torch.optim.SGD(model.parameters(), lr=args.rate)" in result.patch
    assert any("the command gives --rate" in note for note in result.notes)


def test_a_printed_number_can_be_the_yardstick(tmp_path: Path) -> None:
    result = repair(tmp_path / "p", SICK, metric="loss")
    assert result.verdict == "repaired"
    assert result.yardstick is not None
    assert result.yardstick.name == "printed loss"


def test_a_number_that_nobody_prints_is_an_answer_not_a_patch(tmp_path: Path) -> None:
    result = repair(tmp_path / "p", SICK, metric="accuracy", trials=1)
    assert result.verdict == "unmeasured"
    assert "no run printed a number called 'accuracy'" in result.reason


def test_a_number_that_the_script_does_not_print_is_said_after_its_first_run(tmp_path: Path) -> None:
    half = SICK.replace("model.parameters()", "model[2].parameters()").replace("lr=0.1", "lr=0.001")
    result = repair(tmp_path / "p", half, metric="accuracy")
    assert result.verdict == "unmeasured"
    assert result.cost.runs == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("print('hello')", "does not train when it is run here"),
        ("import os; os.environ['LOCAL_RANK']", "it expects torchrun"),
        ("input()", "the script reads standard input"),
    ],
)
def test_what_cannot_be_tried_is_refused(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(RepairError, match=message):
        repair(tmp_path / "p", source)


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(RepairError, match="2 seeds are too few"):
        Options(seeds=2)


class Clock(Listener):
    """A clock that stands still until so many runs have ended, and then is far ahead."""

    def __init__(self, runs: int) -> None:
        self.left = runs

    def ended(self, outcome: Outcome) -> None:
        self.left -= 1

    def __call__(self) -> float:
        return 0.0 if self.left > 0 else 1e9


def test_the_time_ends_a_repair_with_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(runs=1)
    monkeypatch.setattr("vivavoce.repair.trials.now", clock)
    options = Options(catalogue=CATALOGUE, time=100.0)
    result = Repair(program(tmp_path / "p", SICK), LocalEngine(2), options, tmp_path / "runs", clock).run()
    assert result.verdict == "interrupted"
    assert "the time was up" in result.reason
    assert [len(arm.outcomes) for arm in result.arms] == [1]


class Impatient(Listener):
    """Presses Control-C when the first trial has ended."""

    def __init__(self) -> None:
        self.ended_runs = 0

    def ended(self, outcome: Outcome) -> None:
        self.ended_runs += 1
        if self.ended_runs == 2:
            raise KeyboardInterrupt


def test_control_c_ends_a_repair_with_what_is_known(tmp_path: Path) -> None:
    script = program(tmp_path / "p", SICK)
    result = Repair(script, LocalEngine(1), Options(catalogue=CATALOGUE), tmp_path / "runs", Impatient()).run()
    assert result.verdict == "interrupted"
    assert "Control-C" in result.reason
    assert sum(len(arm.outcomes) for arm in result.arms) == 2


def test_prove_runs_every_arm_with_every_seed_and_a_random_search_at_the_same_cost(tmp_path: Path) -> None:
    result = repair(tmp_path / "p", SICK, prove=True, trials=2)
    assert result.verdict == "repaired"
    tried, drawn = ([arm for arm in result.arms if arm.kind in kinds] for kinds in (("remedy", "patched"), ("random",)))
    assert [sorted(arm.outcomes) for arm in tried] == [[0, 1, 2], [0, 1, 2]]
    searched = sum(len(arm.outcomes) for arm in drawn)
    spent = sum(len(arm.outcomes) for arm in tried)
    assert 1 <= searched <= spent
    assert {arm.name for arm in tried} - {result.winner.name if result.winner else ""} <= set(result.effects)
