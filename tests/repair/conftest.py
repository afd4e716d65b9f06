"""The trials' processes find the catalogue of the tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
