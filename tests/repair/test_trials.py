"""Which arms of a round are run, and when it ends: with an engine that only pretends to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Optimizer, Site
from vivavoce.remedy.catalogue import by_name
from vivavoce.remedy.remedy import Edit, Prescription
from vivavoce.repair.engine import Engine, Job
from vivavoce.repair.options import Listener, Options
from vivavoce.repair.outcome import Found, Outcome
from vivavoce.repair.reading import TRAINING_LOSS
from vivavoce.repair.specification import ORIGINAL, Program, Specification
from vivavoce.repair.sweep import towards
from vivavoce.repair.trials import Trials
from vivavoce.testing.runs import make_run

SICK = Found("learning-rate-too-high", "critical", "")
Told = Callable[[Specification], tuple[float, tuple[Found, ...]]]  # a trial: its loss, and what is found in it


class Pretence(Engine):
    """Runs nothing; remembers which arms were to be run at the same time."""

    name = "pretence"

    def __init__(self, tell: Told, workers: int = 3) -> None:
        self.tell, self.workers = tell, workers
        self.batches: list[list[tuple[str, int]]] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        self.batches.append([(job.specification.arm, job.specification.seed) for job in jobs])
        for job in jobs:
            loss, found = self.tell(job.specification)
            yield outcome(job.specification.arm, job.specification.seed, loss, found)

    def stop(self) -> None:
        pass

    def fit(self, memory: int, device_memory: int) -> None:
        pass


def outcome(arm: str, seed: int, loss: float, found: tuple[Found, ...]) -> Outcome:
    return Outcome(arm, seed, "finished", steps=100, levels={TRAINING_LOSS: loss}, findings=found)


def trials(tell: Told, plan: list[Prescription], workers: int = 3, **options: object) -> tuple[Trials, Pretence]:
    engine = Pretence(tell, workers)
    made = Trials(Program(("/p",), "/p", "train.py"), engine, Options(**options), Listener())  # type: ignore[arg-type]
    made.catalogue = SimpleNamespace(plan=lambda run, findings: plan, by_name=by_name)
    made.control.outcomes[0] = outcome(ORIGINAL, 0, 8.0, (SICK,))
    return made, engine


def rate(value: float) -> Prescription:
    where = {"file": "/p/train.py", "line": 3, "optimizer": "SGD"}
    return Prescription(
        "lower-learning-rate", SICK.slug, f"lower the learning rate of SGD to {value:g}", {"lr": value}, where
    )


def finding(slug: str) -> Finding:
    return Finding(slug, "critical", 0.9, 6, "", "")


def test_a_search_goes_beyond_the_best_rate_until_that_no_longer_helps() -> None:
    def tell(given: Specification) -> tuple[float, tuple[Found, ...]]:
        if not given.remedies:
            return 8.0, (SICK,)
        tried = given.remedies[0].numbers["lr"]
        return abs(tried - 0.01) * 10 + 0.1, ()

    made, engine = trials(tell, [rate(3.0), rate(1.0), rate(0.3), rate(17.0)])
    tried = made.screen(make_run(), [finding(SICK.slug)], made.control)
    assert [arm.prescriptions[0].numbers["lr"] for arm in tried] == [3.0, 1.0, 0.3, 0.09, 0.027, 0.0081, 0.0024]
    assert sorted(made.control.outcomes) == [0, 1, 2]
    assert engine.batches[0] == [(arm.name, 0) for arm in tried[:3]]


def test_the_number_of_trials_bounds_the_search() -> None:
    made, _ = trials(
        lambda given: (given.remedies[0].numbers["lr"], ()) if given.remedies else (8.0, (SICK,)),
        [rate(3.0), rate(1.0), rate(0.3)],
        trials=4,
    )
    assert len(made.screen(make_run(), [finding(SICK.slug)], made.control)) == 4
    assert made.spent


@pytest.mark.parametrize("helps", [True, False])
def test_certain_cures_are_tried_as_edits_one_at_a_time_beside_the_controls(
    helps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = "gradients-not-zeroed"
    plan = [replace(rate(value), finding=slug) for value in (0.2, 0.1)]

    def edit(self: object, prescription: Prescription, sources: object) -> Edit:
        return Edit({Path("/p/train.py"): f"lr = {prescription.numbers['lr']}"})

    monkeypatch.setattr(type(by_name("lower-learning-rate")), "edit", edit)
    made, engine = trials(lambda given: (1.0, () if helps and given.overrides else (SICK,)), plan)
    made.sources = {Path("/p/train.py"): "lr = 1.0"}
    tried = made.screen(make_run(), [finding(slug)], made.control)
    assert [arm.kind for arm in tried] == ["patched"] * (1 if helps else 2)
    assert dict(tried[0].overrides) == {"/p/train.py": "lr = 0.2"}
    assert engine.batches[0] == [(tried[0].name, 0), (ORIGINAL, 1), (ORIGINAL, 2)]


def test_a_number_that_is_printed_at_the_end_does_not_keep_losers_running() -> None:
    pytest.importorskip("optuna")
    made, _ = trials(lambda given: (1.0, ()), [], metric="accuracy")
    arms = [made.control] * 4
    race = made._race(arms, made.control)
    assert race is not None
    assert race.yardstick.name == TRAINING_LOSS
    assert made._race(arms[:3], made.control) is None


@pytest.mark.parametrize("players", [1, 2])
def test_a_range_test_speaks_for_the_rate_that_is_tried_first(players: int, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[Specification] = []

    def conduct(specification: Specification, **more: object) -> Outcome:
        swept.append(specification)
        return replace(outcome(specification.arm, 0, 1e9, ()), store="a store")

    monkeypatch.setattr("vivavoce.repair.trials.conduct", conduct)
    monkeypatch.setattr("vivavoce.repair.trials.open_run", lambda path: None)
    monkeypatch.setattr("vivavoce.repair.trials.best_factor", lambda run, sweep: 1e-4)
    site = Site("/p/train.py", 3)
    optimizer = Optimizer(id=0, class_name="SGD", site=site, step_site=site, groups=({"learning_rate": 30.0},))
    made, _ = trials(
        lambda given: (given.remedies[0].numbers["lr"] if given.remedies else 8.0, ()), [rate(3.0), rate(1.0)]
    )
    made.control.outcomes[0] = replace(made.control.outcomes[0], players=players)
    tried = made.screen(make_run(entities=[optimizer], meta={"steps": 200}), [finding(SICK.slug)], made.control)
    if players > 1:
        assert not swept
        assert tried[0].prescriptions[0].numbers == {"lr": 3.0}
        return
    assert tried[0].prescriptions[0].numbers == {"lr": 0.003}
    assert tried[0].prescriptions[0].title == "lower the learning rate of SGD to 0.003"
    (specification,) = swept
    assert specification.sweep == towards(False, 200)
    assert specification.budget.steps == specification.sweep.steps
    sweep = made.arms[1]
    assert (sweep.kind, sweep.levels(TRAINING_LOSS), sorted(sweep.outcomes)) == ("sweep", {}, [0])
    assert made.measure().name == TRAINING_LOSS


@pytest.mark.parametrize("helps", [True, False])
@pytest.mark.parametrize("keeps", [True, False], ids=["local", "ray"])
def test_what_other_seeds_were_found_to_have_is_treated_next(
    monkeypatch: pytest.MonkeyPatch, helps: bool, keeps: bool
) -> None:
    """The first run's remedies do nothing: then the controls are run, and what one of them shows is tried before the rest.

    Workers elsewhere keep no recorded runs: there the one that counts is run again here.
    """
    dead = Found("dead-units", "warning", "", primary=True)
    high = replace(SICK, primary=True)
    useless = [replace(rate(10.0**n), remedy="leaky-relu", finding=dead.slug, title=f"useless {n}") for n in range(5)]

    class WithStores(Pretence):
        def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
            for job, told in zip(jobs, super().run(jobs), strict=True):
                assert (job.keep is not None) == (job.specification.arm == ORIGINAL)
                yield replace(told, store="kept.db") if job.keep is not None and keeps else told

    def tell(given: Specification) -> tuple[float, tuple[Found, ...]]:
        if given.remedies:
            return (1.0, ()) if helps and given.remedies[0].remedy == "lower-learning-rate" else (8.0, (dead,))
        return 8.0, (high if given.seed == 1 else dead,)

    made, _ = trials(tell, [], workers=1)
    engine = made.engine = WithStores(tell, 1)
    plans = {dead.slug: useless, SICK.slug: [rate(0.01)]}
    made.catalogue = SimpleNamespace(plan=lambda run, findings: plans[findings[0].slug], by_name=by_name)
    made.control.outcomes[0] = outcome(ORIGINAL, 0, 8.0, (dead,))
    again: list[int] = []

    def here(given: Specification, **options: object) -> Outcome:
        again.append(given.seed)
        return replace(outcome(ORIGINAL, given.seed, 8.0, (high,)), store="kept.db")

    monkeypatch.setattr("vivavoce.repair.trials.conduct", here)
    monkeypatch.setattr("vivavoce.repair.trials.open_run", lambda path: make_run())
    monkeypatch.setattr("vivavoce.repair.trials.examine", lambda run: SimpleNamespace(findings=[finding(SICK.slug)]))
    made.screen(make_run(), [finding(dead.slug)], made.control)
    order = [arm for batch in engine.batches for arm, _ in batch]
    assert order[:3] == ["useless 0", "useless 1", "useless 2"]
    assert order[3:5] == [ORIGINAL, ORIGINAL]
    assert order[5] == "lower the learning rate of SGD to 0.01"
    assert order[6:] == ([] if helps else ["useless 3", "useless 4"])
    assert again == ([] if keeps else [1])
