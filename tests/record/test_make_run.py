"""The helper that builds runs from plain data gives what a recorder with the same data gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vivavoce.record.entities import Loss
from vivavoce.record.recorder import Recorder
from vivavoce.record.run import Run
from vivavoce.testing.runs import make_run

KEY = ("train/loss", ("loss", 0))


def test_like_a_recorded_run(tmp_path: Path) -> None:
    values = np.array([[1.0], [np.nan], [-np.inf], [2.5]])
    recorder = Recorder(tmp_path / "run.db", {"steps": 4})
    recorder.entity(Loss(id=0, source="backward"))
    recorder.signal(*KEY, ["loss"]).extend(np.arange(4), values)
    recorded = Run(recorder.source())
    recorder.close()
    made = make_run(entities=[Loss(id=0, source="backward")], signals={KEY: (["loss"], range(4), values[:, 0])})
    assert made.main_loss == recorded.main_loss == Loss(id=0, source="backward")
    assert made.steps == recorded.steps == 4
    for name in ("steps", "counts", "mean", "minimum", "maximum", "nonfinite"):
        np.testing.assert_array_equal(getattr(made.train_loss, name), getattr(recorded.train_loss, name))
    assert made.train_loss.first_nonfinite == 1


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"train/loss have shape \(3, 1\); \(2, 1\) was expected"):
        make_run(signals={KEY: (["loss"], [0, 1], [1.0, 2.0, 3.0])})


def test_empty() -> None:
    run = make_run()
    assert (run.steps, run.models, run.main_loss, run.tracks("x"), run.events("x"), run.live_findings) == (
        0,
        {},
        None,
        [],
        [],
        [],
    )
