"""A fault in any function of any tap: the part says so once and is switched off, and the training stays the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TARGETS_AT_LEAST = 100  # functions that the training reaches; fewer would mean that it has stopped reaching the taps

GUARDS = {  # they catch the faults of what they call, or hold nothing but arithmetic: there is nothing above them
    "BackwardTap._after",
    "Budget.charge",
    "Budget.charge_deep",
    "LoaderTap._end",
    "ModuleTap._answer_hook",
    "ModuleTap._evaluation_hook",
    "ModuleTap._hook",
    "ModuleTap._look_at_what_is_made",
    "OptimizerTap._after_step",
    "OptimizerTap._before_step",
    "OptimizerTap._forget",
    "ScalerTap._steps",
    "Session._guarded",
    "Session.end_step",
    "numbers.tracing",
    "numbers.transformed",
}
AT_THE_START = {  # run before the training does, where a fault is the caller's to see
    "Budget.restart_clock",
    "GraphTap.ask_for_lines",
    "ModuleTap.arm",
    "Session._build",
    "Session._facts",
    "Session.follow",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What came of each injected fault, by the function that was broken."""
    driver = Path(__file__).parent / "faults.py"
    result = subprocess.run([sys.executable, driver], capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr
    lines = map(json.loads, result.stdout.splitlines())
    return {line["target"]: line for line in lines if line["calls"]}


def judged(outcomes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {target: line for target, line in outcomes.items() if target not in GUARDS | AT_THE_START}


def test_faults_reach_every_part(outcomes: dict[str, dict[str, Any]]) -> None:
    assert len(judged(outcomes)) >= TARGETS_AT_LEAST
    switched_off = {part for line in judged(outcomes).values() for part in line["faults"]}
    assert switched_off >= {"optimizers", "backward", "losses", "loaders", "modules", "graph", "clipping", "scaler"}


def test_no_fault_reaches_the_training(outcomes: dict[str, dict[str, Any]]) -> None:
    reached = {target: line["error"] for target, line in judged(outcomes).items() if line["error"]}
    assert reached == {}


def test_no_fault_changes_the_training(outcomes: dict[str, dict[str, Any]]) -> None:
    assert [target for target, line in judged(outcomes).items() if not line["same"]] == []


def test_each_part_warns_once(outcomes: dict[str, dict[str, Any]]) -> None:
    for target, line in judged(outcomes).items():
        assert line["warned"], f"{target}: nothing was said"
        assert len(line["warned"]) == len(set(line["warned"])), f"{target}: {line['warned']}"
