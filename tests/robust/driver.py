"""Runs every case of `cases.py` twice in this process, plain and watched, and prints a line of JSON about each."""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

import vivavoce

sys.path.insert(0, str(Path(__file__).parents[1] / "faithful" / "programs"))
sys.path.insert(0, str(Path(__file__).parent))
import cases
import fingerprint


def digest(result: Any) -> str:
    """What came of a case: its result and the state of torch's generator, as bytes in hexadecimal digits."""
    pieces = b"".join(fingerprint._pieces(result))
    return f"{hash(pieces)} {hash(torch.get_rng_state().numpy().tobytes())}"


def observe(name: str, folder: str) -> dict[str, Any]:
    function, expected = cases.CASES[name]
    cases.seed()
    plain = digest(function())
    cases.seed()
    with vivavoce.watch(budget="50%", directory=folder) as watch:
        watched = digest(function())
    run = watch.run
    return {
        "case": name,
        "same": plain == watched,
        "expected": expected,
        "steps": None if run is None or not run.steps else run.steps,
        "faults": [] if run is None else [event.data for event in run.events("tap-off")],
        "detector_faults": [] if watch.verdict is None else [str(fault) for fault in watch.verdict.faults],
        "verdict": None if watch.verdict is None else watch.verdict.outcome,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or cases.CASES:
            print(json.dumps(observe(name, folder)), flush=True)
