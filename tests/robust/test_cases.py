"""Unusual ways to train: under Viva they go the same way, are recorded as training, and no part of Viva fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.robust.cases import CASES

HERE = Path(__file__).parent
SOME = 0  # recorded as training, the number of steps being a matter of opinion


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, Any]]:
    """What the driver saw of each case."""
    result = subprocess.run(
        [sys.executable, HERE / "driver.py"], capture_output=True, text=True, timeout=280, check=False
    )
    assert result.returncode == 0, result.stderr
    return {line["case"]: line for line in map(json.loads, result.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, seen: dict[str, dict[str, Any]]) -> None:
    line = seen[name]
    assert line["same"], "Viva changed the outcome"
    assert line["faults"] == []
    assert line["detector_faults"] == []
    if line["expected"] is None:
        assert line["steps"] is None
        assert line["verdict"] in (None, "no-training")
    elif line["expected"] == SOME:
        assert line["steps"] >= 1
        assert line["verdict"] not in (None, "no-training")
    else:
        assert line["steps"] == line["expected"]
