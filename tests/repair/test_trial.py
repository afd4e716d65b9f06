"""Trials of real scripts in processes of their own: what reaches the script, and what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repair.remedies import ZeroGrad
from tests.repair.scripts import CATALOGUE, SICK, STEPS, TRAINING, program
from vivavoce.record.entities import Site
from vivavoce.record.store import open_run
from vivavoce.remedy.remedy import Prescription
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.reading import TRAINING_LOSS, Reading
from vivavoce.repair.specification import Budget, Specification
from vivavoce.repair.supervision import conduct

pytestmark = pytest.mark.timeout(900)  # seconds: whole runs in processes of their own

FILES = """\
import sys
from pathlib import Path
assert Path("config.txt").read_text() == Path(__file__).with_name("config.txt").read_text() == "settings"
assert sys.argv[1:] == ["--epochs", "3"], sys.argv
Path("config.txt").write_text("overwritten")
Path("log.txt").write_text("a log")
"""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def trial(folder: Path, text: str, *arguments: str, **more: object) -> Outcome:
    return conduct(Specification("original", program(folder, text, *arguments), catalogue=CATALOGUE, **more))  # type: ignore[arg-type]


def test_a_trial_reads_the_users_files_gets_the_arguments_and_overwrites_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "config.txt").write_text("settings")
    (folder / "weights.pt").write_bytes(b"precious")
    ending = "torch.save(model.state_dict(), 'weights.pt')\n"
    before = {**snapshot(folder), "train.py": (FILES + TRAINING + ending).encode()}
    outcome = trial(folder, FILES + TRAINING + ending, "--epochs", "3", metric="loss")
    assert (outcome.ended, outcome.message, outcome.steps) == ("finished", "", STEPS)
    assert outcome.levels["printed loss"] > 0
    assert snapshot(folder) == before


def test_the_same_seed_gives_the_same_training_another_seed_another_one(tmp_path: Path) -> None:
    script = program(tmp_path / "p", TRAINING)
    losses = {}
    for label, seed in (("first", 0), ("again", 0), ("other", 1)):
        outcome = conduct(Specification("original", script, seed=seed), keep=tmp_path / label)
        assert outcome.store is not None
        losses[label] = open_run(Path(outcome.store)).train_loss.mean.tolist()
    assert losses["first"] == losses["again"]
    assert losses["first"][0] != losses["other"][0]


def test_a_remedy_is_applied_without_touching_the_source(tmp_path: Path) -> None:
    sick = trial(tmp_path / "p", SICK)
    remedy = Prescription(ZeroGrad.name, "gradients-not-zeroed", "clear the gradients")
    treated = trial(tmp_path / "p", SICK, remedies=(remedy,))
    assert [found.slug for found in sick.grave] == ["gradients-not-zeroed"]
    assert treated.cured
    assert treated.level(TRAINING_LOSS) < 0.5
    assert not sick.level(TRAINING_LOSS) < 0.5


def test_places_are_recorded_as_the_users_own(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "helper.py").write_text(
        "import torch\ndef made(model):\n    return torch.optim.SGD(model.parameters(), 0.1)\n"
    )
    text = "import helper\n" + TRAINING.replace("torch.optim.SGD(model.parameters(), lr=0.1)", "helper.made(model)")
    outcome = conduct(Specification("original", program(folder, text)), keep=tmp_path / "runs")
    assert outcome.store is not None
    optimizer = open_run(Path(outcome.store)).optimizers[0]
    assert (optimizer.site, optimizer.step_site) == (
        Site(str(folder / "helper.py"), 3, "made"),
        Site(str(folder / "train.py"), 15, "<module>"),
    )


def test_a_remedy_that_cannot_be_applied_is_refused_with_its_reason(tmp_path: Path) -> None:
    outcome = trial(
        tmp_path / "p", SICK, remedies=(Prescription("impossible", "gradients-not-zeroed", "something else"),)
    )
    assert outcome.ended == "refused"
    assert outcome.message == "something else cannot be tried here: there is nothing to get hold of"


def test_a_budget_of_steps_ends_a_trial(tmp_path: Path) -> None:
    endless = TRAINING.replace("for step in range(60):", "while True:")
    outcome = trial(tmp_path / "p", endless, budget=Budget(steps=25), report_every=10)
    assert (outcome.ended, outcome.steps) == ("budget", 25)
    assert TRAINING_LOSS in outcome.levels


def test_a_training_that_is_lost_ends_early(tmp_path: Path) -> None:
    outcome = trial(tmp_path / "p", TRAINING.replace("lr=0.1", "lr=1e30").replace("range(60)", "range(10**6)"))
    assert outcome.ended == "stopped early"
    assert "no finite loss in 20 steps" in outcome.message


def test_a_judge_can_end_a_trial(tmp_path: Path) -> None:
    endless = TRAINING.replace("for step in range(60):", "while True:")
    script = program(tmp_path / "p", endless)
    seen = []

    def judge(step: int, reading: Reading) -> bool:
        seen.append((step, sorted(reading.levels)))
        return step >= 40

    outcome = conduct(Specification("original", script, report_every=20), judge=judge)
    assert (outcome.ended, outcome.message) == ("stopped early", "among the worse half at step 40")
    assert seen[0][0] == 20
    assert TRAINING_LOSS in seen[0][1]


@pytest.mark.parametrize("reads", ["input()", "sys.stdin.read()", "sys.stdin.buffer.read(1)", "next(iter(sys.stdin))"])
def test_a_script_that_reads_standard_input_is_refused_clearly(tmp_path: Path, reads: str) -> None:
    outcome = trial(tmp_path / "p", f"import sys\n{reads}\n")
    assert outcome.ended == "refused"
    assert "the script reads standard input; to have it replayed" in outcome.message


def test_standard_input_from_a_file_is_replayed(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("yes\nno\n")
    script = program(tmp_path / "p", "import sys\nassert (input(), sys.stdin.read()) == ('yes', 'no\\n')\n")
    replayed = type(script)(script.roots, script.here, script.target, standard_input=str(tmp_path / "answers"))
    for _ in range(2):
        outcome = conduct(Specification("original", replayed))
        assert (outcome.ended, outcome.message) == ("finished", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('no such thing')", "ValueError: no such thing"),
        ("import os; os._exit(9)", "its process died with status 9"),
        ("open(PLACE, 'w')", "PermissionError: the script writes to"),
    ],
)
def test_a_script_that_fails_says_why(tmp_path: Path, text: str, message: str) -> None:
    outcome = trial(tmp_path / "p", text.replace("PLACE", repr(str(tmp_path / "p" / "x.txt"))))
    assert outcome.ended in ("exception", "lost")
    assert outcome.message.startswith(message)
    assert not outcome.trained


BLINDED = """import torch
from vivavoce.attach.session import Session
def broken(*_):
    raise RuntimeError("a fault of ours")
Session._end_step = broken
"""


def test_a_trial_that_viva_did_not_see_to_its_end_is_not_judged(tmp_path: Path) -> None:
    outcome = trial(tmp_path / "p", BLINDED + TRAINING)
    assert outcome.ended == "lost"
    assert not outcome.trained
    assert "internal error" in outcome.message


def test_an_outcome_survives_its_journey() -> None:
    outcome = Outcome("a", 1, "finished", steps=5, levels={"x": float("nan"), "y": 0.5}, warnings=("w",))
    back = Outcome.from_json(outcome.to_json())
    assert back.levels["x"] != back.levels["x"]
    assert (back.levels["y"], back.warnings, back.kind) == (0.5, ("w",), outcome.kind)
