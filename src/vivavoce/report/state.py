"""Whether a recorded run still goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from vivavoce.report.schema import State


def run_state(meta: Mapping[str, Any]) -> State:
    """ "finished" where the run said so; else "running" while its process is alive, "killed" where it is gone."""
    if meta.get("finished") is not None:
        return "finished"
    process = meta.get("pid")
    if not isinstance(process, int):
        return "running"
    return "running" if _alive(process) else "killed"


def _alive(process: int) -> bool:
    """Whether a process exists; where that cannot be asked harmlessly (Windows), it is taken to."""
    if os.name == "nt":  # os.kill(pid, 0) would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it exists and is someone else's
        return True
    return True
