"""Viva as an arm of the benchmark: everything that `viva run` does at default settings, in this process."""

from __future__ import annotations

from pathlib import Path

from _arms import Arm, Unavailable
from _interleave import Arms
from _workloads import Workload


class Viva(Arm):
    """All taps, the recorder with its thread and a store on disk, and the examination while the run goes on."""

    name = "viva"
    records = "placeholder"
    in_quick = True
    weight = 6.0

    def attach(self, workload: Workload, folder: Path) -> Arms:
        raise Unavailable("not built yet")
