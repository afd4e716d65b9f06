"""The range test: how rates climb, what a swept run speaks for, and that a script's own rates come back."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.repair.scripts import TRAINING, program
from vivavoce.record.entities import Loss
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.repair.specification import Budget, Specification
from vivavoce.repair.supervision import conduct
from vivavoce.repair.sweep import BELOW, DECADES, FEWEST_STEPS, STEPS, Sweep, best_factor, install, towards
from vivavoce.testing.runs import make_run

SWEEP = Sweep(STEPS, 1e-6, 1.0)


def swept(losses: np.ndarray) -> Run:
    signals = {("train/loss", ("loss", 0)): (("loss",), np.arange(1, len(losses) + 1), losses)}
    return make_run(entities=[Loss(id=0, source="backward")], signals=signals)


def test_the_rates_climb_evenly_in_their_logarithm() -> None:
    factors = np.log10([SWEEP.factor(step) for step in range(1, STEPS + 1)])
    assert factors[0] == pytest.approx(-DECADES)
    assert factors[-1] == pytest.approx(0.0)
    assert np.diff(factors) == pytest.approx(np.full(STEPS - 1, DECADES / (STEPS - 1)))


def test_it_looks_above_or_below_and_not_in_a_run_that_is_too_short() -> None:
    higher, lower = towards(True, 10_000), towards(False, 50)
    assert higher == Sweep(STEPS, 1.0, 10**DECADES)
    assert lower == Sweep(50, 10**-DECADES, 1.0)
    assert towards(True, FEWEST_STEPS - 1) is None


@pytest.mark.parametrize("ends", ["climbs", "breaks"])
def test_a_tenth_of_the_rate_of_the_lowest_loss(ends: str) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal(STEPS)
    steps = np.arange(STEPS)
    losses = 2.0 - np.clip((steps - 40) / 40, 0, 1) + np.clip((steps - 80) / 10, 0, 4) + noise
    if ends == "breaks":
        losses[82:] = np.nan
    factor = best_factor(swept(losses), SWEEP)
    assert factor is not None
    assert SWEEP.factor(76) < factor * BELOW < SWEEP.factor(86)


def test_a_loss_that_never_falls_speaks_for_nothing() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(STEPS)
    assert best_factor(swept(2.0 + noise), SWEEP) is None
    assert best_factor(swept(2.0 + np.linspace(0, 5, STEPS) + noise), SWEEP) is None
    assert best_factor(swept(np.full(STEPS, np.nan)), SWEEP) is None
    assert best_factor(swept(np.ones(3)), SWEEP) is None


@pytest.mark.timeout(900)  # seconds: a run in a process of its own
def test_a_trial_is_swept_and_a_usable_rate_found(tmp_path: Path) -> None:
    """Least squares of 8 unit inputs: gradient descent converges below a rate of about 1."""
    script = program(tmp_path / "p", TRAINING.replace("lr=0.1", "lr=1e-5").replace("range(60)", "range(400)"))
    sweep = towards(True, 400)
    assert sweep is not None
    outcome = conduct(Specification("swept", script, budget=Budget(sweep.steps), sweep=sweep), keep=tmp_path / "runs")
    assert outcome.store is not None
    run = open_run(Path(outcome.store))
    factor = best_factor(run, sweep)
    assert factor is not None
    assert 0.003 < 1e-5 * factor < 0.3
    assert Specification.from_json(Specification("swept", script, sweep=sweep).to_json()).sweep == sweep


def test_the_scripts_own_rates_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Any] = []
    module = import_module("torch.optim.optimizer")
    for name in ("pre", "post"):
        monkeypatch.setattr(module, f"register_optimizer_step_{name}_hook", hooks.append)
    install(SWEEP)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    for step in (1, 2):
        hooks[0](optimizer, (), {})
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * SWEEP.factor(step))
        hooks[1](optimizer, (), {})
        assert optimizer.param_groups[0]["lr"] == 0.5
