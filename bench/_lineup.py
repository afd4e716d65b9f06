"""The arms in the order in which they are measured."""

from __future__ import annotations

import _arms
from _arms import Arm
from _viva import Viva

ARMS: tuple[type[Arm], ...] = (
    _arms.Nothing,
    Viva,
    _arms.NormItems,
    _arms.TensorBoardHistograms,
    _arms.WandbWatch,
    _arms.WandbWatchEachStep,
    _arms.AnomalyMode,
    _arms.Traintools,
    _arms.Torchmortem,
    _arms.TrainingDoctor,
    _arms.Trainpulse,
    _arms.StabilityGuard,
    _arms.TrainWatch,
    _arms.Cockpit,
    _arms.TraceML,  # last: it leaves a thread behind
)
