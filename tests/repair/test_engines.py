"""The engines: the same results from both, and a worker that dies is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.repair.scripts import TRAINING, program
from vivavoce.repair.engine import MOST_ATTEMPTS, Engine, Job
from vivavoce.repair.errors import MissingPackageError, RepairError
from vivavoce.repair.local import LocalEngine
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.reading import TRAINING_LOSS, Reading
from vivavoce.repair.specification import Specification

pytestmark = pytest.mark.timeout(900)  # seconds: whole runs in processes of their own

DIES = """\
import os, signal
from pathlib import Path
marker = Path({marker!r})
count = int(marker.read_text()) if marker.exists() else 0
marker.write_text(str(count + 1))
if count < {times}:
    os.kill({victim}, signal.SIGKILL)
    signal.pause()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A real Ray cluster of two nodes with one worker each."""
    ray: Any = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield
    ray.shutdown()
    found.shutdown()


def outcomes(engine: Engine, *jobs: Job) -> list[Outcome]:
    return sorted(engine.run(jobs), key=lambda outcome: outcome.seed)


def job(folder: Path, source: str, seed: int = 0, **more: Any) -> Job:
    return Job(Specification("original", program(folder, source), seed), **more)


def dying(tmp_path: Path, victim: str, times: int) -> Job:
    marker = str(tmp_path / "marker")
    return job(tmp_path / "p", DIES.format(marker=marker, victim=victim, times=times), limit=120.0)


def test_a_local_trial_that_was_killed_is_started_again(tmp_path: Path) -> None:
    (outcome,) = outcomes(LocalEngine(1), dying(tmp_path, "os.getpid()", 1))
    assert (outcome.ended, outcome.attempts) == ("finished", 2)


def test_a_local_trial_that_is_always_killed_is_given_up_and_reported(tmp_path: Path) -> None:
    (outcome,) = outcomes(LocalEngine(1), dying(tmp_path, "os.getpid()", 99))
    assert (outcome.ended, outcome.attempts) == ("lost", MOST_ATTEMPTS)
    assert "died with status -9" in outcome.message


def test_as_many_local_trials_as_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vivavoce.repair.local.free_memory", lambda: 10_000)
    engine = LocalEngine(4)
    engine.fit(4_000, 0)
    assert engine.workers == 2
    engine.fit(1_000_000, 0)
    assert engine.workers == 1


def test_no_workers_are_an_error() -> None:
    with pytest.raises(RepairError, match="not 0"):
        LocalEngine(0)


def test_ray_gives_the_same_results_as_this_machine(tmp_path: Path, cluster: None) -> None:
    from vivavoce.repair.cluster import RayEngine

    engine = RayEngine()
    assert engine.workers == 2
    jobs = [job(tmp_path / "p", TRAINING, seed) for seed in range(2)]
    here, there = outcomes(LocalEngine(1), *jobs), outcomes(engine, *jobs)
    losses = [[outcome.levels[TRAINING_LOSS] for outcome in runs] for runs in (here, there)]
    assert losses[0] == losses[1]
    assert [outcome.steps for outcome in there] == [outcome.steps for outcome in here]


def test_a_ray_worker_that_dies_is_replaced_and_reported(tmp_path: Path, cluster: None) -> None:
    from vivavoce.repair.cluster import RayEngine

    (outcome,) = outcomes(RayEngine(), dying(tmp_path, "os.getppid()", 1))
    assert (outcome.ended, outcome.attempts) == ("finished", 2)


def test_a_judge_ends_a_trial_on_ray(tmp_path: Path, cluster: None) -> None:
    from vivavoce.repair.cluster import RayEngine

    def judge(step: int, reading: Reading) -> bool:
        return step >= 40

    endless = TRAINING.replace("for step in range(60):", "while True:")
    specification = Specification("original", program(tmp_path / "p", endless), report_every=20)
    (outcome,) = outcomes(RayEngine(), Job(specification, judge))
    assert outcome.ended == "stopped early"


def test_a_folder_that_a_machine_does_not_have_is_a_clear_error(tmp_path: Path, cluster: None) -> None:
    from vivavoce.repair.cluster import RayEngine

    gone = job(tmp_path / "p", TRAINING)
    (tmp_path / "p" / "train.py").unlink()
    (tmp_path / "p").rmdir()
    with pytest.raises(RepairError, match=r"there is no folder .* on this machine"):
        outcomes(RayEngine(), gone)


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from vivavoce.repair.cluster import RayEngine

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("vivavoce.repair.errors.import_module", missing)
    with pytest.raises(MissingPackageError, match=r"pip install 'vivavoce\[ray\]'"):
        RayEngine()
