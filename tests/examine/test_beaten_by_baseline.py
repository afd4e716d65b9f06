"""beaten-by-baseline on recorded courses, and on real trainings with labels that have nothing to do with the inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vivavoce
from vivavoce.examine.beaten_by_baseline import BeatenByBaseline
from vivavoce.examine.finding import Finding, RuledOut
from vivavoce.record.entities import Loss
from vivavoce.record.folder import list_runs
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.testing.runs import make_run

PASSES = np.arange(50, 1_001, 50)


def made(difference: np.ndarray, accuracy: float = np.nan, error: float = 0.01) -> Run:
    """A run whose validation loss lies `difference` above a constant's of 0.7."""
    random = np.random.default_rng(0)
    n = len(PASSES)
    losses = 0.7 + difference + 0.002 * random.standard_normal(n)
    validation = np.stack([losses, np.full(n, 0.1), np.full(n, 9.0), np.full(n, 90.0), np.full(n, accuracy)], axis=1)
    constant = np.stack([np.full(n, 0.7), losses - 0.7, np.full(n, error), np.full(n, 0.55)], axis=1)
    training = np.linspace(0.7, 0.1, 1_000) + 0.01 * random.standard_normal(1_000)
    owner = ("loss", 0)
    return make_run(
        entities=[Loss(id=0, source="function", function="cross_entropy", classes=2)],
        signals={
            ("train/loss", owner): (["loss"], np.arange(1, 1_001), training),
            ("val/loss", owner): (["loss", "deviation", "batches", "examples", "accuracy"], PASSES, validation),
            ("val/constant", owner): (["loss", "difference", "error", "share"], PASSES, constant),
        },
    )


def looked(run: Run) -> list[Finding | RuledOut]:
    return list(BeatenByBaseline().examine(run))


def test_never_better_than_a_constant() -> None:
    (found,) = looked(made(np.full(len(PASSES), 0.05)))
    assert isinstance(found, Finding)
    assert "0.7" in found.why
    assert found.evidence[0].value == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("difference", "accuracy"),
    [
        (np.linspace(-0.01, -0.3, len(PASSES)), np.nan),  # it gets better
        (np.concatenate([np.linspace(0, -0.2, 10), np.linspace(-0.2, 0.4, 10)]), np.nan),  # it was better once
        (np.full(len(PASSES), 0.2), 0.8),  # too sure of itself, but right
    ],
)
def test_excluded(difference: np.ndarray, accuracy: float) -> None:
    (found,) = looked(made(difference, accuracy))
    assert isinstance(found, RuledOut)


def test_still_falling_is_undecided() -> None:
    assert not looked(made(np.linspace(0.4, 0.0, len(PASSES))))


def train(tmp_path: Path, related: bool) -> Run:
    """A classifier of two classes whose labels are, or are not, about its inputs; 20 epochs with a validation pass each."""
    torch.manual_seed(0)
    x = torch.randn(512, 6)
    y = (x[:, 0] > 0).long() if related else torch.randint(0, 2, (512,))
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with vivavoce.watch(budget=0.5, directory=tmp_path):
        for _ in range(20):
            for rows in torch.randperm(256).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                for rows in torch.arange(256, 512).split(64):
                    nn.functional.cross_entropy(model(x[rows]), y[rows])
    return open_run(list_runs(tmp_path)[0].path)


@pytest.mark.parametrize("related", [True, False])
def test_watched(tmp_path: Path, related: bool) -> None:
    run = train(tmp_path, related)
    assert len(run.series("val/constant", None, "loss")) >= 3
    findings = [found for found in looked(run) if isinstance(found, Finding)]
    assert bool(findings) == (not related)
