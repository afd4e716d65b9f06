"""Successive halving among arms, and the random draws of --prove."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from tests.repair import remedies
from vivavoce.record.entities import Optimizer, Site
from vivavoce.remedy.remedy import Prescription
from vivavoce.repair import seeds
from vivavoce.repair.arm import widely
from vivavoce.repair.errors import MissingPackageError
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.race import HALF_TIME, READINGS, Race, reading_interval
from vivavoce.repair.reading import TRAINING_LOSS, Kind, Reading
from vivavoce.repair.search import draws
from vivavoce.repair.yardstick import Yardstick
from vivavoce.testing.runs import make_run

KIND = Kind("mse_loss", "mean")
EVERY = 10


def race() -> Race:
    original = Outcome("original", 0, "finished", steps=80, levels={TRAINING_LOSS: 1.0}, kind=KIND)
    return Race(original, Yardstick(TRAINING_LOSS, "lower"), EVERY)


def given_up(racing: Race, level: float, kind: Kind = KIND) -> int | None:
    """The reading at which an arm that stays at a level is given up; None where it is not."""
    judge = racing.judge()
    for number in range(1, READINGS + 1):
        if judge(number * EVERY, Reading({TRAINING_LOSS: level}, kind)):
            return number
    return None


def test_the_worse_half_is_given_up_at_half_time() -> None:
    racing = race()
    assert given_up(racing, 0.5) is None
    assert given_up(racing, 0.7) == HALF_TIME
    assert given_up(racing, 0.6) is None  # it gained four fifths of what the best did: it may win in the end
    assert given_up(racing, math.nan) is not None
    assert given_up(racing, 0.4) is None


def test_an_arm_whose_loss_is_another_one_is_not_judged() -> None:
    racing = race()
    assert given_up(racing, 0.5) is None
    assert given_up(racing, 100.0, Kind("l1_loss", "mean")) is None


def test_there_are_eight_readings_of_a_long_run_and_one_a_step_of_a_short_one() -> None:
    assert reading_interval(800) == 100
    assert reading_interval(3) == 1


def test_first_values_of_all_remedies_come_before_second_ones() -> None:
    planned = [Prescription(name, "slug", f"{name}{value}") for name in "ab" for value in (1, 2)]
    assert [prescription.title for prescription in widely(planned)] == ["a1", "b1", "a2", "b2"]


def test_draws_cover_the_knobs_and_repeat_with_the_seed() -> None:
    run = make_run(entities=[Optimizer(id=0, class_name="SGD", step_site=Site("train.py", 3))])
    drawn = draws(run, remedies, 200)
    counts = Counter(prescription.remedy for prescription in drawn)
    assert set(counts) == {"zero-grad", "learning-rate", "impossible"}
    assert min(counts.values()) > 40
    factors = [p.numbers["factor"] / 1e-9 for p in drawn if p.remedy == "learning-rate"]
    assert 0.1 <= min(factors) < 0.3
    assert 3 < max(factors) <= 10
    assert drawn == draws(run, remedies, 200)
    assert drawn != draws(run, remedies, 200, seed=1)


def test_an_offset_of_zero_leaves_the_scripts_seeds_alone() -> None:
    assert seeds.shifted(7, 0) == 7
    assert seeds.shifted(7, 2) == 7 + 2 * seeds.STRIDE
    assert seeds.shifted("text", 2) == "text"
    assert seeds.shifted(None, 2) is None


def test_seeds_of_every_generator_are_shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    plain = torch.Generator
    for module, name in ((random, "seed"), (np.random, "seed"), (np.random, "default_rng"), (torch, "Generator")):
        monkeypatch.setattr(module, name, getattr(module, name))
    for module in (torch, torch.random):
        monkeypatch.setattr(module, "manual_seed", torch.manual_seed)
    state, legacy = random.getstate(), np.random.get_state()
    expected = (
        plain().manual_seed(seeds.shifted(3, 1)).initial_seed(),
        np.random.default_rng(seeds.shifted(3, 1)).random(),
    )
    with torch.random.fork_rng():
        seeds.seed_random(1)
        seeds.seed_numpy(np, 1)
        seeds.seed_torch(torch, 1)
        random.seed(3)
        assert random.random() == random.Random(seeds.shifted(3, 1)).random()
        np.random.seed(3)
        assert np.random.rand() == np.random.RandomState(seeds.shifted(3, 1) % 2**32).rand()
        assert (torch.Generator().manual_seed(3).initial_seed(), np.random.default_rng(3).random()) == expected
        torch.manual_seed(3)
        assert torch.initial_seed() == seeds.shifted(3, 1)
    random.setstate(state)
    np.random.set_state(legacy)


def test_without_optuna_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("vivavoce.repair.errors.import_module", missing)
    with pytest.raises(MissingPackageError, match=r"this needs optuna: pip install 'vivavoce\[repair\]'"):
        race()
